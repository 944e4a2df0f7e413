/* The thumbnail service's parts: what they share, and the stages they give. */
#ifndef THUMBNAILS_SERVICE_H
#define THUMBNAILS_SERVICE_H

#include "budget.h"
#include "codec.h"
#include "options.h"

#include <weir/weir.h>

#include <limits.h>
#include <semaphore.h>
#include <stdatomic.h>

enum { NAME_BYTES = 256, WHY_BYTES = 200, ITEM_OVERHEAD_BYTES = 128 * 1024 };

typedef struct folder folder;

/* One for the process; outlives its pipeline. */
typedef struct service {
    options options;
    budget budget;
    weir_env env;
    weir_isolate_helper *helper;
    weir_isolate_stats workers;
    weir_pipeline *pipeline;
    atomic_uint port; /* once it listens */
    sem_t listens;    /* posted once the port is known */
    char host[256];
    int watch_fd, out_fd, done_fd, failed_fd; /* folders; -1: none */
} service;

typedef enum image_end { IMAGE_OPEN, IMAGE_MADE, IMAGE_REFUSED, IMAGE_GONE } image_end;

/* The body of the items below the admission: an uploaded image, or a file of the folder. */
typedef struct image {
    service *service;
    weir_item *request; /* borrowed; NULL: a file */
    folder *folder;     /* of a file */
    struct image *next; /* of the files that were taken */
    weir_isolate_bytes file;
    void *memory;          /* of a file's bytes */
    char name[NAME_BYTES]; /* a file's, or an upload's stem */
    image_end end;
    unsigned status;     /* of a refusal, as of HTTP */
    char why[WHY_BYTES]; /* likewise */
} image;

extern const weir_item_type upload_type, file_type;
/* The image that `item` is, or is made of. */
image *image_of(const weir_item *item);
/* Notes why there is no thumbnail; printable text only, whatever is handed in. */
void image_refuse(image *im, unsigned status, const char *why, size_t n);
/* What is to be done as an image ends, by how it ended. */
void image_note_end(image *im, weir_outcome outcome, weir_status status);

/* ---- admit.c ---- */

/* Requests in, images out. What is no image at all is answered at once. */
weir_stage_spec *admit_stage(service *s);

/* ---- folder.c ---- */

/* The source of files, and the stage that reads them. */
weir_stage_spec *folder_stage(service *s);
weir_stage_spec *load_stage(service *s);

/* ---- store.c ---- */

/* Writes thumbnails; what is refused passes. */
weir_stage_spec *store_stage(service *s);

/* ---- reply.c ---- */

/* The end: answers uploads, and says of files what became of them. */
weir_stage_spec *reply_stage(service *s);
void reply_refused(weir_item *request, unsigned status, const char *why);
/* What the workers gave, if it makes sense. */
bool thumbnail_read(const weir_item *item, codec_head *ret_head, weir_isolate_bytes *ret_rest);
/* The thumbnail's name: stem and ending. */
void thumbnail_name(const image *im, const codec_head *head, char ret_name[NAME_BYTES]);

/* ---- demo.c ---- */

typedef struct demo demo;
/* Starts a thread that loads the service for a while, shows how that goes, and ends the pipeline.
 * NULL: it could not. */
demo *demo_start(service *s);
/* Waits for it, prints the summary, and frees it. False: something went wrong. */
bool demo_finish(demo *d);

#endif
