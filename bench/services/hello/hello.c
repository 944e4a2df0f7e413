/* The hello pipeline: a TCP server on port 7000 that shouts back every line it is sent. */
#include <weir/weir.h>

#include <ctype.h>
#include <stdio.h>

static weir_status shout(weir_item *line, void *user)
{
    (void)user;
    for (char *c = weir_item_body(line); *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
    return WEIR_OK;
}

int main(void)
{
    weir_pipeline *p = weir_pipeline_new(NULL);

    weir_from(p, weir_tcp_listen(&(weir_tcp_config){ .port = 7000 }));
    weir_via(p, weir_lines(&(weir_lines_config){ .line_bytes_max = 4096 }));
    weir_via(p, weir_map(shout, NULL));
    weir_into(p, weir_tcp_reply());

    weir_status status = weir_run(p); /* one loop per core, until SIGTERM */
    if (status != WEIR_OK)
        fprintf(stderr, "hello: %s\n", weir_pipeline_why(p));
    weir_pipeline_free(p);
    return status == WEIR_OK ? 0 : 1;
}
