/* gguf_edit.h: a copy of a GGUF file with something changed, and the model that is described by it. The copy has the shapes and types of
 * the tensors and zeros for weights: no description of a model looks at them. */
#ifndef SMT_GGUF_EDIT_H
#define SMT_GGUF_EDIT_H

#include "model/model.h"

/* Fields left zero change nothing. */
typedef struct smt_gguf_edit {
    const char *drop, *drop_too; /* key or tensor to leave out */
    const char *u32_key;
    uint32_t u32;
    const char *f32_key;
    float f32;
    const char *text_key, *text;
    const char *array_key; /* of `array_length` u32 values */
    uint32_t array[8], array_length;
    const char *retype; /* tensor that becomes a type of ... */
    smt_dtype type;
    const char *reshape; /* tensor whose dimension `dim` becomes `size` */
    uint32_t dim;
    uint64_t size;
    const char *add; /* tensor of [add_ne, 1] F32 zeros */
    uint64_t add_ne;
} smt_gguf_edit;

typedef struct smt_edited {
    uint8_t *bytes;
    smt_gguf *file;
    smt_model *model; /* NULL where the status is not SMT_OK */
} smt_edited;

/* Returns what smt_model_create returned; what goes wrong before that fails the running test. Close it in any case. */
smt_status smt_edited_open(const char *path, const smt_gguf_edit *edit, smt_edited *out, smt_error *err);
void smt_edited_close(smt_edited *edited);

#endif
