/* machine.c: the devices that a plan is made for: those of this machine, or of a file in the format that `devices --json` writes.
 *
 * From a file only "kind" and "heaps" with "bytes" are needed; what else is left out is assumed. Besides what `devices` writes, a device may
 * say "link_bytes_s" (how fast it reads host memory) and "hop_s". */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- from a file ---- */

static uint64_t count_of(const json_t *object, const char *name, uint64_t otherwise) {
    const json_t *value = json_object_get(object, name);
    if (json_is_integer(value) && json_integer_value(value) >= 0) return (uint64_t)json_integer_value(value);
    if (json_is_real(value) && json_real_value(value) >= 0 && json_real_value(value) < 1e19)
        return (uint64_t)json_real_value(value);
    return otherwise;
}

static uint32_t small_of(const json_t *object, const char *name) {
    uint64_t value = count_of(object, name, 0);
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static double speed_of(const json_t *object, const char *name) { return json_number_value(json_object_get(object, name)); }
static bool flag_of(const json_t *object, const char *name) { return json_is_true(json_object_get(object, name)); }

static bool read_heaps(const json_t *list, smt_device_info *info) {
    size_t i;
    json_t *heap;
    const size_t most = sizeof info->heaps / sizeof info->heaps[0];
    if (json_array_size(list) == 0 || json_array_size(list) > most) return false;
    json_array_foreach(list, i, heap) {
        uint64_t bytes = count_of(heap, "bytes", 0);
        if (bytes == 0) return false;
        info->heaps[info->n_heaps++] = (smt_heap_info){.bytes = bytes,
                                                       .budget = count_of(heap, "budget", bytes),
                                                       .device_local = flag_of(heap, "device_local"),
                                                       .host_visible = flag_of(heap, "host_visible")};
    }
    return true;
}

static bool read_types(const json_t *list, smt_device_info *info) {
    size_t i;
    json_t *type;
    const size_t most = sizeof info->memory_types / sizeof info->memory_types[0];
    if (json_array_size(list) > most) return false;
    json_array_foreach(list, i, type) {
        info->memory_types[info->n_memory_types++] = (smt_memory_type){.heap = small_of(type, "heap"),
                                                                       .device_local = flag_of(type, "device_local"),
                                                                       .host_visible = flag_of(type, "host_visible"),
                                                                       .host_coherent = flag_of(type, "host_coherent"),
                                                                       .host_cached = flag_of(type, "host_cached")};
    }
    return true;
}

static bool read_device(const json_t *device, smt_machine_device *out) {
    const json_t *limits = json_object_get(device, "limits"), *features = json_object_get(device, "features");
    smt_device_info *info = &out->info;
    *out = (smt_machine_device){.read_bytes_s = speed_of(device, "read_bytes_s"),
                                .link_bytes_s = speed_of(device, "link_bytes_s"),
                                .hop_s = speed_of(device, "hop_s")};
    info->id = json_string_value(json_object_get(device, "id"));
    info->name = json_string_value(json_object_get(device, "name"));
    info->kind = json_string_value(json_object_get(device, "kind"));
    info->uuid = json_string_value(json_object_get(device, "uuid"));
    info->unusable = json_string_value(json_object_get(device, "unusable"));
    info->max_allocation = count_of(limits, "max_allocation", 0);
    info->max_storage_range = count_of(limits, "max_storage_range", 0);
    info->max_workgroup = small_of(limits, "max_workgroup");
    info->max_shared_bytes = small_of(limits, "max_shared_bytes");
    info->storage_align = small_of(limits, "storage_align");
    info->max_texels = small_of(limits, "max_texels");
    info->texel_align = small_of(limits, "texel_align");
    info->subgroup_size = small_of(limits, "subgroup_size");
    info->subgroup_min = small_of(limits, "subgroup_min");
    info->subgroup_ballot = flag_of(features, "subgroup_ballot");
    info->subgroup_arithmetic = flag_of(features, "subgroup_arithmetic");
    info->external_memory = flag_of(features, "external_memory");
    return info->id && info->kind && read_heaps(json_object_get(device, "heaps"), info) &&
           read_types(json_object_get(device, "memory_types"), info);
}

static int read_file(const char *path, cli_machine *out) {
    char *text;
    size_t bytes, i;
    json_error_t wrong;
    json_t *device;
    if (!cli_read_file(path, &text, &bytes)) return CLI_FAILED;
    out->document = json_loadb(text, bytes, 0, &wrong);
    free(text);
    if (!out->document) return cli_fail(CLI_FAILED, "%s: line %d: %s", path, wrong.line, wrong.text);
    size_t n = json_array_size(out->document);
    if (n == 0 || n > 64) return cli_fail(CLI_FAILED, "%s: not a list of devices, as `seamount devices --json` writes it", path);
    out->devices = calloc(n, sizeof *out->devices);
    if (!out->devices) return cli_no_memory();
    json_array_foreach(out->document, i, device) if (!read_device(device, &out->devices[out->n_devices++])) return cli_fail(
        CLI_FAILED, "%s: device %zu needs \"id\", \"kind\" and 1 to 16 \"heaps\" with \"bytes\"", path, i);
    return CLI_DONE;
}

/* ---- this machine ---- */

static int read_here(const cli_args *args, cli_machine *out) {
    smt_device_options options;
    smt_error err = {0};
    cli_device_options(args, &options);
    options.callbacks.progress = NULL;
    options.devices = NULL; /* the plan chooses */
    smt_status status = smt_device_list_create(&options, &out->list, &err);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    uint32_t n = smt_device_list_count(out->list);
    if (n == 0) return cli_fail(CLI_FAILED, "Vulkan is there, but it offers no device");
    out->devices = calloc(n, sizeof *out->devices);
    if (!out->devices) return cli_no_memory();
    for (uint32_t i = 0; i < n; i++) {
        smt_machine_device *device = &out->devices[out->n_devices++];
        smt_device_list_get(out->list, i, &device->info);
        if (cli_flag(args, OPT_MINIMUM))
            device->info.max_texels = device->info.subgroup_ballot = device->info.external_memory = 0;
        /* processors take seconds to be measured, and are hardly ever chosen */
        if (device->info.unusable || !strcmp(device->info.kind, "cpu")) continue;
        if (smt_device_bandwidth(out->list, i, &device->read_bytes_s, &err) != SMT_OK)
            fprintf(stderr, "%s: bandwidth not measured: %s\n", device->info.id, err.message);
    }
    return CLI_DONE;
}

int cli_machine_read(const cli_args *args, cli_machine *out) {
    *out = (cli_machine){0};
    const char *path = cli_text(args, OPT_MACHINE);
    int status = path && *path ? read_file(path, out) : read_here(args, out);
    for (uint32_t i = 0; i < out->n_devices; i++)
        if (cli_flag(args, OPT_NO_EXTERNAL_MEMORY)) out->devices[i].info.external_memory = false;
    return status;
}

void cli_machine_free(cli_machine *machine) {
    smt_device_list_free(machine->list);
    json_decref(machine->document);
    free(machine->devices);
    *machine = (cli_machine){0};
}
