/* cmd_devices.c: `devices`: what each Vulkan device of this machine is, has and can, with its measured read bandwidth. A device
 * that cannot be measured shows null and says why on stderr; the list is still complete. */
#include "cli.h"

#include <inttypes.h>

static double measure(const smt_device_list *list, uint32_t index, const smt_device_info *info) {
    double bytes_s = 0;
    smt_error err = {0};
    if (info->unusable) return 0;
    if (smt_device_bandwidth(list, index, &bytes_s, &err) != SMT_OK) {
        cli_progress_clear();
        fprintf(stderr, "%s: bandwidth not measured: %s\n", info->id, err.message);
    }
    return bytes_s;
}

static void version_text(uint32_t version, char *text, size_t capacity) {
    snprintf(text, capacity, "%u.%u.%u", version >> 22 & 127, version >> 12 & 1023, version & 4095);
}

/* ---- JSON ---- */

static json_t *json_heaps(const smt_device_info *info) {
    json_t *heaps = json_array();
    for (uint32_t i = 0; i < info->n_heaps; i++)
        json_array_append_new(heaps, json_pack("{s:o, s:o, s:b, s:b}", "bytes", cli_json_count(info->heaps[i].bytes), "budget",
                                               cli_json_count(info->heaps[i].budget), "device_local", info->heaps[i].device_local,
                                               "host_visible", info->heaps[i].host_visible));
    return heaps;
}

static json_t *json_types(const smt_device_info *info) {
    json_t *types = json_array();
    for (uint32_t i = 0; i < info->n_memory_types; i++) {
        const smt_memory_type *type = &info->memory_types[i];
        json_array_append_new(types, json_pack("{s:o, s:b, s:b, s:b, s:b}", "heap", cli_json_count(type->heap), "device_local",
                                               type->device_local, "host_visible", type->host_visible, "host_coherent",
                                               type->host_coherent, "host_cached", type->host_cached));
    }
    return types;
}

static json_t *json_limits(const smt_device_info *info) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "max_allocation",
                     cli_json_count(info->max_allocation), "max_storage_range", cli_json_count(info->max_storage_range),
                     "max_push_constants", cli_json_count(info->max_push_constants), "max_workgroup",
                     cli_json_count(info->max_workgroup), "max_shared_bytes", cli_json_count(info->max_shared_bytes),
                     "max_storage_buffers", cli_json_count(info->max_storage_buffers), "subgroup_size",
                     cli_json_count(info->subgroup_size), "subgroup_min", cli_json_count(info->subgroup_min), "storage_align",
                     cli_json_count(info->storage_align), "max_texels", cli_json_count(info->max_texels), "texel_align",
                     cli_json_count(info->texel_align));
}

static json_t *json_features(const smt_device_info *info) {
    const uint32_t *shape = info->coop_shape;
    return json_pack("{s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:[i, i, i]}", "fp16", info->fp16, "int8",
                     info->int8, "int64", info->int64, "storage16", info->storage16, "storage8", info->storage8, "int_dot",
                     info->int_dot, "coop_matrix", info->coop_matrix, "subgroup_arithmetic", info->subgroup_arithmetic,
                     "timeline", info->timeline, "memory_budget", info->memory_budget, "executable_properties",
                     info->executable_properties, "subgroup_ballot", info->subgroup_ballot, "external_memory",
                     info->external_memory, "coop_shape", (int)shape[0], (int)shape[1], (int)shape[2]);
}

static json_t *json_device(const smt_device_info *info, double bytes_s) {
    char version[32];
    version_text(info->api_version, version, sizeof version);
    return json_pack("{s:o, s:o, s:s, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o}", "id",
                     cli_json_text(info->id), "name", cli_json_text(info->name), "kind", info->kind, "driver",
                     cli_json_text(info->driver), "uuid", info->uuid, "api_version", version, "driver_version",
                     cli_json_count(info->driver_version), "vendor_id", cli_json_count(info->vendor_id), "device_id",
                     cli_json_count(info->device_id), "heaps", json_heaps(info), "memory_types", json_types(info), "limits",
                     json_limits(info), "features", json_features(info), "usable", info->unusable == NULL, "unusable",
                     info->unusable ? cli_json_text(info->unusable) : json_null(), "read_bytes_s",
                     bytes_s > 0 ? json_real(bytes_s) : json_null());
}

/* ---- text ---- */

static void print_features(const smt_device_info *info) {
    const struct {
        const char *name;
        bool has;
    } features[] = {
        {"fp16", info->fp16},
        {"int8", info->int8},
        {"int64", info->int64},
        {"16-bit storage", info->storage16},
        {"8-bit storage", info->storage8},
        {"integer dot product", info->int_dot},
        {"cooperative matrix", info->coop_matrix},
        {"subgroup arithmetic", info->subgroup_arithmetic},
        {"timeline semaphore", info->timeline},
        {"memory budget", info->memory_budget},
        {"executable properties", info->executable_properties},
        {"external memory", info->external_memory},
    };
    cli_print("  has         ");
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++)
        if (features[i].has) cli_print(" %s;", features[i].name);
    cli_print(" subgroups of %u\n", info->subgroup_size);
    if (info->coop_shape[0])
        cli_print("  matrices     %u x %u x %u\n", info->coop_shape[0], info->coop_shape[1], info->coop_shape[2]);
}

static void print_device(const smt_device_info *info, double bytes_s) {
    char version[32];
    version_text(info->api_version, version, sizeof version);
    cli_print("%s  %s\n", info->id, info->name);
    cli_print("  kind         %s, driver %s, Vulkan %s, UUID %s\n", info->kind, info->driver, version, info->uuid);
    for (uint32_t i = 0; i < info->n_heaps; i++)
        cli_print("  heap %-2u      %" PRIu64 " MiB, %" PRIu64 " MiB free%s%s\n", i, info->heaps[i].bytes >> 20,
                  info->heaps[i].budget >> 20, info->heaps[i].device_local ? ", device-local" : "",
                  info->heaps[i].host_visible ? ", host-visible" : "");
    cli_print("  limits       allocation %" PRIu64 " MiB, storage buffer %" PRIu64 " MiB, %u invocations, %u bytes shared\n",
              info->max_allocation >> 20, info->max_storage_range >> 20, info->max_workgroup, info->max_shared_bytes);
    print_features(info);
    if (info->unusable)
        cli_print("  unusable     %s\n", info->unusable);
    else if (bytes_s > 0)
        cli_print("  reads        %.1f GB/s\n", bytes_s * 1e-9);
}

int cmd_devices(const cli_args *args) {
    smt_device_options options;
    cli_device_options(args, &options);
    options.callbacks.progress = NULL; /* one small kernel a device: no bar */
    smt_error err = {0};
    smt_device_list *list;
    smt_status status = smt_device_list_create(&options, &list, &err);
    if (status != SMT_OK) return cli_fail_device(args, status, &err);
    json_t *document = cli_flag(args, OPT_JSON) ? json_array() : NULL;
    for (uint32_t i = 0; i < smt_device_list_count(list); i++) {
        smt_device_info info;
        smt_device_list_get(list, i, &info);
        double bytes_s = measure(list, i, &info);
        if (document)
            json_array_append_new(document, json_device(&info, bytes_s));
        else
            print_device(&info, bytes_s);
    }
    if (!document && smt_device_list_count(list) == 0) cli_print("Vulkan is there, but it offers no device.\n");
    smt_device_list_free(list);
    return !document || cli_write_json(document, false) ? CLI_DONE : CLI_FAILED;
}
