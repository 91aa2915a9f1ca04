/* hf_folder.c: the folder, its matrices and its safetensors files. */
#include "hf_folder.h"
#include "os/os.h"
#include "quant/quant.h"

#include <unistd.h>

void smt_hf_begin(smt_hf_folder *folder, const char *name) {
    *folder = (smt_hf_folder){0};
    snprintf(folder->path, sizeof folder->path, "%s/%s-%ld", SMT_TEST_WORK, name, (long)getpid());
}

const char *smt_hf_path(const smt_hf_folder *folder, const char *file) {
    static char paths[8][1024];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder->path, file);
    return path;
}

void smt_hf_file(smt_hf_folder *folder, const char *file, const void *bytes, size_t n_bytes) {
    smt_error err = {0};
    size_t i = 0;
    while (i < folder->n_files && strcmp(folder->files[i], file) != 0) i++;
    assert_true(i < SMT_COUNT(folder->files) && strlen(file) < sizeof folder->files[0]);
    if (i == folder->n_files) strcpy(folder->files[folder->n_files++], file);
    SMT_ASSERT_OK(smt_os_write_atomic(smt_hf_path(folder, file), bytes, n_bytes, &err), &err);
}

void smt_hf_json(smt_hf_folder *folder, const char *file, json_t *value) {
    char *text = json_dumps(value, JSON_INDENT(1));
    assert_non_null(text);
    smt_hf_file(folder, file, text, strlen(text));
    free(text);
    json_decref(value);
}

smt_hf_matrix *smt_hf_find(smt_hf_folder *folder, const char *name) {
    for (size_t i = 0; i < folder->n_matrices; i++)
        if (strcmp(folder->matrices[i].name, name) == 0) return &folder->matrices[i];
    return NULL;
}

void smt_hf_add_bytes(smt_hf_folder *folder, const char *name, const char *dtype, uint64_t rows, uint64_t k, const void *bytes,
                      size_t n_bytes) {
    smt_error err = {0};
    SMT_ASSERT_OK(smt_grow((void **)&folder->matrices, &folder->capacity, folder->n_matrices + 1, sizeof *folder->matrices, &err),
                  &err);
    smt_hf_matrix *matrix = &folder->matrices[folder->n_matrices++];
    *matrix = (smt_hf_matrix){.dtype = dtype, .n_dims = rows ? 2 : 1, .dims = {rows ? rows : k, k}, .n_bytes = n_bytes};
    snprintf(matrix->name, sizeof matrix->name, "%s", name);
    matrix->bytes = smt_alloc(n_bytes, 1);
    assert_non_null(matrix->bytes);
    memcpy(matrix->bytes, bytes, n_bytes);
}

void smt_hf_add(smt_hf_folder *folder, const char *name, const char *dtype, uint64_t rows, uint64_t k, const float *values) {
    smt_dtype type = !strcmp(dtype, "F32") ? SMT_DTYPE_F32 : !strcmp(dtype, "F16") ? SMT_DTYPE_F16 : SMT_DTYPE_BF16;
    uint64_t n = (rows ? rows : 1) * k, n_bytes = smt_dtype_row_bytes(type, n);
    void *bytes = smt_alloc(n_bytes, 1);
    assert_true(bytes && smt_quant_encode(type, values, bytes, n));
    smt_hf_add_bytes(folder, name, dtype, rows, k, bytes, n_bytes);
    smt_free(bytes);
}

/* Every n_shards-th matrix, beginning with number `first`: neighbours lie in different files. */
static void write_shard(smt_hf_folder *folder, const char *file, size_t first, size_t n_shards) {
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    smt_str bytes = {0};
    uint64_t at = 0;
    for (size_t i = first; i < folder->n_matrices; i += n_shards) {
        const smt_hf_matrix *m = &folder->matrices[i];
        json_t *shape = m->n_dims == 2 ? json_pack("[I, I]", (json_int_t)m->dims[0], (json_int_t)m->dims[1])
                                       : json_pack("[I]", (json_int_t)m->dims[0]);
        json_object_set_new(header, m->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", m->dtype, "shape", shape, "data_offsets", (json_int_t)at,
                                      (json_int_t)(at + m->n_bytes)));
        at += m->n_bytes;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    uint64_t length = strlen(text);
    smt_str_append(&bytes, &length, 8, NULL);
    smt_str_append(&bytes, text, length, NULL);
    for (size_t i = first; i < folder->n_matrices; i += n_shards)
        assert_int_equal(smt_str_append(&bytes, folder->matrices[i].bytes, folder->matrices[i].n_bytes, NULL), SMT_OK);
    smt_hf_file(folder, file, bytes.text, bytes.bytes);
    smt_str_free(&bytes);
    free(text);
    json_decref(header);
}

void smt_hf_write(smt_hf_folder *folder, uint32_t n_shards) {
    if (n_shards == 1) {
        write_shard(folder, "model.safetensors", 0, 1);
        return;
    }
    json_t *map = json_object();
    for (uint32_t s = 0; s < n_shards; s++) {
        char file[64];
        snprintf(file, sizeof file, "model-%05u-of-%05u.safetensors", s + 1, n_shards);
        write_shard(folder, file, s, n_shards);
        for (size_t i = s; i < folder->n_matrices; i += n_shards)
            json_object_set_new(map, folder->matrices[i].name, json_string(file));
    }
    smt_hf_json(folder, "model.safetensors.index.json",
                json_pack("{s:{s:i}, s:o}", "metadata", "total_size", 1, "weight_map", map));
}

void smt_hf_end(smt_hf_folder *folder) {
    for (size_t i = 0; i < folder->n_files; i++) remove(smt_hf_path(folder, folder->files[i]));
    rmdir(folder->path);
    for (size_t i = 0; i < folder->n_matrices; i++) smt_free(folder->matrices[i].bytes);
    smt_free(folder->matrices);
    *folder = (smt_hf_folder){0};
}
