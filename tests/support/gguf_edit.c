/* gguf_edit.c: see gguf_edit.h. */
#include "gguf_edit.h"

#include "gguf_write.h"
#include "support.h"

static bool same(const char *a, const char *b) { return a && b && strcmp(a, b) == 0; }

static bool dropped(const smt_gguf_edit *e, const char *name) { return same(name, e->drop) || same(name, e->drop_too); }

static void copy_keys(smt_gguf_writer *w, const smt_gguf *from, const smt_gguf_edit *e) {
    for (uint64_t i = 0; i < smt_gguf_key_count(from); i++) {
        const smt_gguf_key *key = smt_gguf_key_at(from, i);
        const char *name = key->name;
        if (dropped(e, name) || same(name, e->u32_key) || same(name, e->f32_key) || same(name, e->text_key) ||
            same(name, e->array_key))
            continue;
        smt_gguf_write_copy(w, key);
    }
    if (e->u32_key) smt_gguf_write_u32(w, e->u32_key, e->u32);
    if (e->f32_key) smt_gguf_write_f32(w, e->f32_key, e->f32);
    if (e->text_key) smt_gguf_write_text(w, e->text_key, e->text);
    if (e->array_key) smt_gguf_write_array(w, e->array_key, SMT_GGUF_U32, e->array_length, e->array, 4 * e->array_length);
}

static void copy_tensors(smt_gguf_writer *w, const smt_gguf *from, const smt_gguf_edit *e) {
    for (uint64_t i = 0; i < smt_gguf_tensor_count(from); i++) {
        const smt_gguf_tensor *tensor = smt_gguf_tensor_at(from, i);
        uint64_t ne[4];
        if (dropped(e, tensor->name)) continue;
        memcpy(ne, tensor->ne, sizeof ne);
        if (same(tensor->name, e->reshape)) ne[e->dim] = e->size;
        smt_gguf_write_tensor(w, tensor->name, (uint32_t)(same(tensor->name, e->retype) ? e->type : tensor->type), ne, NULL);
    }
    if (e->add) smt_gguf_write_tensor(w, e->add, SMT_DTYPE_F32, (uint64_t[]){e->add_ne, 1, 1, 1}, NULL);
}

smt_status smt_edited_open(const char *path, const smt_gguf_edit *edit, smt_edited *out, smt_error *err) {
    smt_gguf *from;
    smt_gguf_writer w = {0};
    size_t n;
    *out = (smt_edited){0};
    SMT_ASSERT_OK(smt_gguf_open(path, &from, err), err);
    copy_keys(&w, from, edit);
    copy_tensors(&w, from, edit);
    SMT_ASSERT_OK(smt_gguf_write_memory(&w, &out->bytes, &n, err), err);
    smt_gguf_write_free(&w);
    smt_gguf_free(from);
    SMT_ASSERT_OK(smt_gguf_parse(out->bytes, n, path, &out->file, err), err);
    smt_status status = smt_model_create(out->file, &out->model, err);
    assert_true((status == SMT_OK) == (out->model != NULL));
    return status;
}

void smt_edited_close(smt_edited *edited) {
    smt_model_free(edited->model);
    smt_gguf_free(edited->file);
    smt_free(edited->bytes);
}
