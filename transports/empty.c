/* Placeholder translation unit so that an empty layer links. */
typedef int wi_transports_empty;
