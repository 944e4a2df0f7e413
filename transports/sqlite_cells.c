/* SQLite values on their way between a loop and a pool thread: copies that outlive both ends. */
#include "sqlite_call.h"

#include <string.h>

void wi_sqlite_cells_clear(wi_sqlite_cells *cells)
{
    cells->n = 0;
    cells->used = 0;
    cells->payload = 0;
    cells->status = WEIR_OK;
}

void wi_sqlite_cells_done(wi_sqlite_cells *cells)
{
    weir_memory_free(cells->env, cells->cells);
    weir_memory_free(cells->env, cells->text);
    cells->cells = NULL;
    cells->text = NULL;
    cells->cap = cells->text_cap = 0;
    wi_sqlite_cells_clear(cells);
}

static void latch(wi_sqlite_cells *cells, weir_status status)
{
    if (cells->status == WEIR_OK)
        cells->status = status;
}

wi_sqlite_cell *wi_sqlite_cells_add(wi_sqlite_cells *cells, weir_sqlite_kind kind)
{
    if (cells->status != WEIR_OK)
        return NULL;
    if (cells->n == cells->cap) {
        size_t cap = cells->cap == 0 ? 8 : cells->cap * 2;
        if (cap / 2 >= cells->n_max) {
            latch(cells, WEIR_ELIMIT);
            return NULL;
        }
        void *grown = weir_memory_resize(cells->env, cells->cells, cap * sizeof(wi_sqlite_cell));
        if (grown == NULL) {
            latch(cells, WEIR_ENOMEM);
            return NULL;
        }
        cells->cells = grown;
        cells->cap = cap;
    }
    wi_sqlite_cell *cell = &cells->cells[cells->n++];
    *cell = (wi_sqlite_cell){ .kind = kind };
    return cell;
}

void wi_sqlite_cells_put(wi_sqlite_cells *cells, wi_sqlite_cell *cell, const void *data,
                         size_t bytes)
{
    if (bytes > cells->bytes_max - cells->payload) {
        latch(cells, WEIR_ELIMIT);
        return;
    }
    size_t need = cells->used + bytes + 1;
    if (need > cells->text_cap) {
        size_t cap = cells->text_cap == 0 ? 256 : cells->text_cap;
        while (cap < need)
            cap *= 2;
        void *grown = weir_memory_resize(cells->env, cells->text, cap);
        if (grown == NULL) {
            latch(cells, WEIR_ENOMEM);
            return;
        }
        cells->text = grown;
        cells->text_cap = cap;
    }
    if (bytes > 0)
        memcpy(cells->text + cells->used, data, bytes);
    cells->text[cells->used + bytes] = '\0';
    cell->is.offset = cells->used;
    cell->bytes = (uint32_t)bytes;
    cells->used += bytes + 1;
    cells->payload += bytes;
}

/* ---- Parameters ---- */

/* The cell of parameter `index`, NULL after a latched error. */
static wi_sqlite_cell *param(weir_sqlite_params *params, uint32_t index, weir_sqlite_kind kind)
{
    if (index == 0 || index > WEIR_SQLITE_PARAMS_MAX) {
        latch(&params->cells, WEIR_EINVAL);
        return NULL;
    }
    while (params->cells.n < index)
        if (wi_sqlite_cells_add(&params->cells, WEIR_SQLITE_NULL) == NULL)
            return NULL;
    wi_sqlite_cell *cell = &params->cells.cells[index - 1];
    cell->kind = kind;
    return cell;
}

void weir_sqlite_bind_null(weir_sqlite_params *params, uint32_t index)
{
    (void)param(params, index, WEIR_SQLITE_NULL);
}

void weir_sqlite_bind_int(weir_sqlite_params *params, uint32_t index, int64_t value)
{
    wi_sqlite_cell *cell = param(params, index, WEIR_SQLITE_INT);
    if (cell != NULL)
        cell->is.integer = value;
}

void weir_sqlite_bind_double(weir_sqlite_params *params, uint32_t index, double value)
{
    wi_sqlite_cell *cell = param(params, index, WEIR_SQLITE_DOUBLE);
    if (cell != NULL)
        cell->is.real = value;
}

void weir_sqlite_bind_text(weir_sqlite_params *params, uint32_t index, const char *text,
                           size_t bytes)
{
    wi_sqlite_cell *cell = param(params, index, WEIR_SQLITE_TEXT);
    if (cell != NULL)
        wi_sqlite_cells_put(&params->cells, cell, text, bytes);
}

void weir_sqlite_bind_blob(weir_sqlite_params *params, uint32_t index, const void *blob,
                           size_t bytes)
{
    wi_sqlite_cell *cell = param(params, index, WEIR_SQLITE_BLOB);
    if (cell != NULL)
        wi_sqlite_cells_put(&params->cells, cell, blob, bytes);
}

/* ---- Rows ---- */

static const wi_sqlite_cell *cell_of(const weir_sqlite_row *row, uint32_t column)
{
    static const wi_sqlite_cell null_cell = { .kind = WEIR_SQLITE_NULL };
    return column < row->columns ? &row->cells->cells[row->first + column] : &null_cell;
}

uint32_t weir_sqlite_columns(const weir_sqlite_row *row)
{
    return row->columns;
}

weir_sqlite_kind weir_sqlite_kind_of(const weir_sqlite_row *row, uint32_t column)
{
    return cell_of(row, column)->kind;
}

int64_t weir_sqlite_int(const weir_sqlite_row *row, uint32_t column)
{
    const wi_sqlite_cell *cell = cell_of(row, column);
    if (cell->kind == WEIR_SQLITE_INT)
        return cell->is.integer;
    if (cell->kind != WEIR_SQLITE_DOUBLE || !(cell->is.real > -9.2e18 && cell->is.real < 9.2e18))
        return 0;
    return (int64_t)cell->is.real;
}

double weir_sqlite_double(const weir_sqlite_row *row, uint32_t column)
{
    const wi_sqlite_cell *cell = cell_of(row, column);
    if (cell->kind == WEIR_SQLITE_INT)
        return (double)cell->is.integer;
    return cell->kind == WEIR_SQLITE_DOUBLE ? cell->is.real : 0.0;
}

const char *weir_sqlite_text(const weir_sqlite_row *row, uint32_t column, size_t *ret_bytes)
{
    const wi_sqlite_cell *cell = cell_of(row, column);
    if (cell->kind != WEIR_SQLITE_TEXT && cell->kind != WEIR_SQLITE_BLOB)
        return NULL;
    if (ret_bytes != NULL)
        *ret_bytes = cell->bytes;
    return row->cells->text + cell->is.offset;
}
