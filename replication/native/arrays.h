/* How the kernels take arrays of numpy: see replication/formats/native.py, which passes them.

   VECTOR is an array of one dimension without gaps, with its length; TABLE one of two dimensions whose rows have no
   gaps, with its shape and the distance of two rows in elements. A kernel returns 0, or NO_MEMORY. */

#ifndef ARRAYS_H
#define ARRAYS_H

#include <stdint.h>

#define VECTOR(type, name) type *restrict name, int64_t name##_size
#define TABLE(type, name) type *restrict name, int64_t name##_rows, int64_t name##_columns, int64_t name##_step
#define UNUSED(name) ((void)(name))

enum { DONE = 0, NO_MEMORY = 1 };

/* Where the linker can choose by the processor, loops over lanes are compiled for wider vectors too. Contraction into
   fused operations is off (see native.py): all of them give the same bits. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define WIDER __attribute__((target_clones("default", "avx2", "arch=skylake-avx512")))
#else
#define WIDER
#endif

#endif
