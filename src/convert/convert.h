/* convert.h: making GGUF files: the room behind smt_quantize and smt_convert.
 *
 * smt_quantize: one GGUF file out of another (quantize_*.c, see quantize_internal.h). Knows files and tensor types, and nothing of
 * how a model computes: a file of any architecture can be quantised.
 *
 * smt_convert: a GGUF file out of a checkpoint as it is published, a folder of JSON and safetensors files:
 *
 *   config.json ----------> numbers (convert_config.c, convert_rope.c) ---> keys (convert_keys.c)       \
 *   tokenizer.json, ... --> tokens, merges, ids (convert_vocab.c, _pre.c, _spm.c, _special.c) --> keys   > gguf/gguf_output.h
 *   *.safetensors --------> directory (convert_safetensors.c), tensor list (convert_list.c,             /
 *                           convert_families.c), rows as float32 (convert_rows.c), encoded (convert_run.c)
 *
 * Invariants of smt_convert
 *   1. Everything in the folder is hostile: sizes, shapes and ids are checked before use, and an error names file, tensor or key
 *      with the numbers.
 *   2. Nothing is passed over in silence: a tensor that has no place in the result is an error naming it, unless it is a known
 *      relic or belongs to layers that are left out, which the log says.
 *   3. Memory does not grow with the checkpoint: the directory, the vocabulary, and buffers for a slice of one matrix.
 *   4. Values go through float32, which holds every source type exactly: a 16-bit checkpoint keeps its bits under its own type. */
#ifndef SMT_CONVERT_H
#define SMT_CONVERT_H

#include "base/base.h"

/* What seamount.h promises; `options` is complete (the caller has looked after struct_size). */
smt_status smt_convert_quantize(const smt_quantize_options *options, smt_error *err);
smt_status smt_convert_checkpoint(const smt_convert_options *options, smt_error *err);

#endif
