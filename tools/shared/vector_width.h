/* vector_width.h: software drivers asked for the widest vectors of this processor: for the programs. */
#ifndef VECTOR_WIDTH_H
#define VECTOR_WIDTH_H

/* Mesa's software driver computes with 256 bits unless told otherwise. With AVX-512 and nothing said by the user, this says 512 in the
 * environment of the process. Call it at the beginning of main, before other threads and before the library is asked for devices. */
void vector_width_ask(void);

#endif
