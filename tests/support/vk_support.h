/* vk_support.h: what the GPU tests share: a device of the driver under test, with validation on, and small helpers.
 *
 * Group fixtures: smt_vk_test_setup opens the first device of the Vulkan drivers of this process (VK_ICD_FILENAMES chooses) and
 * leaves the program with status 77, "skipped", where there is none. smt_vk_test_teardown fails the program when the
 * validation layer said a single word. `*state` is the smt_vk_fixture.
 *
 * Shaders written with smt_vk_test_shader lie in a folder of their own, which is the device's shader_dir and is removed in
 * the end; the embedded shaders stay reachable, because shader_dir overrides single files. */
#ifndef SMT_VK_SUPPORT_H
#define SMT_VK_SUPPORT_H

#include "support.h"
#include "vk/vk.h"

typedef struct smt_vk_fixture {
    smt_vk *vk;
    smt_vk_device *device;
    const smt_caps *caps;
    uint32_t host_type; /* memory type: host-visible */
    char folder[256];   /* shader_dir; removed in the end with all its files */
} smt_vk_fixture;

int smt_vk_test_setup(void **state);
int smt_vk_test_teardown(void **state);

/* A folder of this process under the build folder, which the first file in it makes; smt_vk_test_remove deletes it with all that is in it. */
void smt_vk_test_folder(char *path, size_t capacity);
/* A file in it; `name` may have folders of its own. */
void smt_vk_test_write(const char *folder, const char *name, const char *text);
void smt_vk_test_remove(const char *path);
/* smt_vk_open with validation; messages are printed. Leaves the program with 77 without Vulkan. */
smt_vk *smt_vk_test_open(void);

void smt_vk_test_shader(const smt_vk_fixture *fixture, const char *name, const char *text);
/* A host-visible buffer of zeros. */
smt_vk_buffer *smt_vk_test_buffer(const smt_vk_fixture *fixture, uint64_t bytes, const char *name);
/* A kernel of 64 x 1 x 1 invocations from a file of the shader folder. */
smt_vk_kernel *smt_vk_test_kernel(const smt_vk_fixture *fixture, const char *source, uint32_t n_windows, uint32_t push_bytes);
smt_vk_range smt_vk_test_whole(smt_vk_buffer *buffer);
/* Ends, submits, waits and destroys. */
void smt_vk_test_run(const smt_vk_fixture *fixture, smt_vk_recording *recording);

#endif
