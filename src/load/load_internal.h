/* load_internal.h: what the files of this room share: the model's bytes as a list of jobs, and those who do them. */
#ifndef SMT_LOAD_INTERNAL_H
#define SMT_LOAD_INTERNAL_H

#include "load/load_upload.h"

/* Rows of one plane of a matrix that land in one piece: device rows of at most SMT_UPLOAD_CHUNK bytes, or a whole derived plane. */
typedef struct smt_load_job {
    const smt_matrix *matrix; /* borrowed */
    uint32_t plane, row, rows;
    bool woven;            /* then the first row begins a group */
    smt_vk_buffer *buffer; /* borrowed */
    uint64_t to;
} smt_load_job;

typedef struct smt_load_jobs {
    smt_load_job *jobs; /* owned */
    size_t n, capacity;
} smt_load_jobs;

/* Jobs by the way that their bytes take. Staged ones are the caller's thread's alone, for it has the ring. */
typedef enum smt_load_way { SMT_LOAD_STAGED, SMT_LOAD_MAPPED, SMT_LOAD_WAYS } smt_load_way;

/* ---- load_list.c ---- */

/* All of them, in the order of the plan; `upload` tells the way. Free the lists also after a failure. */
smt_status smt_load_list(const smt_load_args *args, const smt_weights *weights, const smt_upload *upload,
                         smt_load_jobs out[SMT_LOAD_WAYS], smt_error *err);
/* The matrices of one expert, to any place. */
smt_status smt_load_list_expert(const smt_load_args *args, const smt_weights *weights, const smt_upload *upload,
                                const smt_item *item, const smt_plan_place *to, smt_load_jobs out[SMT_LOAD_WAYS], smt_error *err);
void smt_load_list_free(smt_load_jobs jobs[SMT_LOAD_WAYS]);

/* ---- load_rows.c ---- */

/* Who does a job: one thread's. */
typedef struct smt_load_hand {
    smt_upload *upload;
    uint8_t *piece; /* [piece_bytes], host memory that file rows pass through on their way into mapped memory */
    uint64_t piece_bytes;
} smt_load_hand;
/* Of a list: enough for one row, or group, of each job, and little enough to stay in a processor's cache; 0: none of them repacks. */
uint64_t smt_load_piece_bytes(const smt_load_jobs *jobs);
uint64_t smt_load_job_bytes(const smt_load_job *job); /* on the device */
void smt_load_job_expect(const smt_load_job *job);    /* it is read soon */
smt_status smt_load_job_do(smt_load_hand *hand, const smt_load_job *job, smt_error *err);

/* ---- load_work.c ---- */

/* Does all jobs, those of mapped memory on several threads. Progress counts up to `total`, bytes of the items. */
smt_status smt_load_work(const smt_load_args *args, const smt_load_jobs jobs[SMT_LOAD_WAYS], smt_upload *upload, uint64_t total,
                         smt_error *err);
/* SMT_CANCELLED when the progress callback says so. */
smt_status smt_load_report(const smt_load_args *args, uint64_t done, uint64_t total, smt_error *err);

#endif
