/* What reflection looks things up in. Made once, then only read. */
#ifndef WI_RPC_SYMBOLS_H
#define WI_RPC_SYMBOLS_H

#include <weir/rpc_reflection.h>

/* Files, symbols and extensions are each sorted. */
typedef struct wi_rpc_symbol {
    const char *name; /* in full, without a leading dot */
    uint32_t file;
    bool is_message;
} wi_rpc_symbol;

typedef struct wi_rpc_extension {
    const char *type;
    int32_t number;
    uint32_t file;
} wi_rpc_extension;

typedef struct wi_rpc_symbols {
    const weir_env *env;
    weir_arena names;
    const weir_rpc_file **files;
    wi_rpc_symbol *symbols;
    wi_rpc_extension *extensions;
    uint32_t file_count, symbol_count, extension_count;
    size_t file_cap, symbol_cap, extension_cap;
} wi_rpc_symbols;

/* Of these files and all that they import; NULL ones are skipped. WEIR_ENOMEM, WEIR_ELIMIT,
 * WEIR_EPROTO: then there is nothing to be done with. */
weir_status wi_rpc_symbols_make(wi_rpc_symbols *symbols, const weir_env *env,
                                const weir_rpc_file *const *files, size_t n);
void wi_rpc_symbols_done(wi_rpc_symbols *symbols);

/* The index of a file; UINT32_MAX: there is none. */
uint32_t wi_rpc_symbols_file(const wi_rpc_symbols *symbols, const char *name);
const wi_rpc_symbol *wi_rpc_symbols_find(const wi_rpc_symbols *symbols, const char *name);
/* The first extension of `type` whose number is at least `number`. */
const wi_rpc_extension *wi_rpc_symbols_extension(const wi_rpc_symbols *symbols, const char *type,
                                                 int32_t number);

#endif
