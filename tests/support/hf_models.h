/* hf_models.h: small checkpoints of each kind with the configuration of the published ones, out of tiny_model.h's files. */
#ifndef SMT_HF_MODELS_H
#define SMT_HF_MODELS_H

#include "hf_folder.h"

/* Each begins the folder, adds the matrices as F32 and returns config.json; nothing is written yet but the tokenizer's files. The
 * GGUF file that the matrices come from is opened as *out_original. */
json_t *smt_hf_tiny_v3(smt_hf_folder *folder, const char *name, smt_gguf **out_original);
json_t *smt_hf_tiny_llama(smt_hf_folder *folder, const char *name, smt_gguf **out_original);
/* The configuration of deepseek-moe-16b in small, over the llama matrices with experts in the last layer. */
json_t *smt_hf_tiny_moe(smt_hf_folder *folder, const char *name, smt_gguf **out_original);

/* Writes config.json (takes the reference) and the matrices, converts to `type`, opens the result; the files stay. */
void smt_hf_convert(smt_hf_folder *folder, json_t *config, uint32_t n_shards, const char *type, smt_gguf **out);
/* The same, expecting a failure. */
void smt_hf_refuse(smt_hf_folder *folder, json_t *config, smt_status status, const char *words);

#endif
