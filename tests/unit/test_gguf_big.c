/* test_gguf_big.c: files of the size that real models have, tensors as holes: opening one reads the header and nothing else, and takes
 * memory for the header alone. Skipped where the file system cannot hold such files. */
#include "gguf_write.h"
#include "support.h"

#include "gguf/gguf.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096

/* n tensors of `bytes` each, a multiple of 4096. False: no such file can be made here. */
static bool make_file(const char *path, uint32_t n, uint64_t bytes, uint32_t alignment, uint64_t *header_bytes) {
    static const char *const texts[] = {"some", "words", "of", "a", "vocabulary"};
    smt_error err = {0};
    smt_gguf_writer w = {.alignment = alignment};
    struct stat info;
    char name[32];
    smt_gguf_write_text(&w, "general.architecture", "none");
    smt_gguf_write_texts(&w, "texts", texts, SMT_COUNT(texts));
    for (uint32_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "blk.%u.some.weight", i);
        smt_gguf_write_tensor(&w, name, SMT_DTYPE_F16, (uint64_t[]){2048, bytes / 4096, 1, 1}, NULL);
    }
    smt_status status = smt_gguf_write_file(&w, path, &err);
    *header_bytes = w.keys.bytes + w.infos.bytes + 24;
    smt_gguf_write_free(&w);
    bool holes = status == SMT_OK && stat(path, &info) == 0 && (uint64_t)info.st_blocks * 512 < (64 << 20);
    if (!holes) remove(path);
    return holes;
}

/* Bytes that this process has read from files so far; 0 where the system does not count them. */
static uint64_t bytes_read(void) {
    FILE *file = fopen("/proc/self/io", "r");
    unsigned long long n = 0;
    if (!file) return 0;
    if (fscanf(file, "rchar: %llu", &n) != 1) n = 0;
    fclose(file);
    return n;
}

static uint64_t page_faults(void) {
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return (uint64_t)usage.ru_minflt + (uint64_t)usage.ru_majflt;
}

/* Whether the page of a file that holds byte `at` is in memory. */
static bool resident(int fd, uint64_t at) {
    unsigned char is = 0;
    void *map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, (off_t)(at / PAGE * PAGE));
    assert_true(map != MAP_FAILED);
    assert_int_equal(mincore(map, PAGE, &is), 0);
    munmap(map, PAGE);
    return is & 1;
}

static void open_big(uint32_t n, uint64_t bytes, uint32_t alignment) {
    smt_error err = {0};
    smt_gguf *gguf;
    char path[1024];
    uint64_t header;
    snprintf(path, sizeof path, "%s/test_gguf_big-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    if (!make_file(path, n, bytes, alignment, &header)) skip();
    uint64_t read_before = bytes_read(), faults_before = page_faults();
    SMT_ASSERT_OK(smt_gguf_open(path, &gguf, &err), &err);
    uint64_t faults = page_faults() - faults_before, read = bytes_read() - read_before;
    assert_int_equal(smt_gguf_tensor_count(gguf), n);
    assert_true(smt_gguf_part_bytes(gguf, 0) >= n * bytes);
    assert_true(read == 0 || read < header + (512 << 10)); /* windows of 256 KiB */
    assert_true(faults < 2000);                            /* 8 MB: directory, names, window */

    /* The system reads a little ahead of the header; no other tensor was touched. (The end of the last one was written above.) */
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_true(resident(fd, 0));
    for (uint32_t i = 1; i + 1 < n; i++) {
        const smt_gguf_tensor *tensor = smt_gguf_tensor_at(gguf, i);
        if (tensor->offset < header + (8 << 20)) continue;
        assert_false(resident(fd, tensor->offset));
        assert_false(resident(fd, tensor->offset + tensor->bytes - 1));
    }
    /* Any byte can be read; then its page is there, which shows that the check above sees pages. */
    uint8_t byte = 1;
    const smt_gguf_tensor *late = smt_gguf_tensor_at(gguf, n - 2);
    SMT_ASSERT_OK(smt_gguf_tensor_read(late, late->bytes - 1, &byte, 1, &err), &err);
    assert_int_equal(byte, 0);
    assert_true(resident(fd, late->offset + late->bytes - 1));
    close(fd);
    smt_gguf_free(gguf);
    remove(path);
}

static void test_30_gb(void **state) {
    (void)state;
    open_big(400, 75ull << 20, 0);
}

static void test_240_gb(void **state) {
    (void)state;
    open_big(2000, 120ull << 20, 65536);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_30_gb), cmocka_unit_test(test_240_gb)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
