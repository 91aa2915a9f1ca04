/* machines.c: see machines.h. */
#include "machines.h"

const char *const smt_test_machines[] = {"8x24", "24+8-two-vendors", "16-arc+12-rtx", "8+64-host",
                                         "apu",  "range-128m",       "allocation-4g", NULL};

static uint64_t count_of(const json_t *object, const char *name) {
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

static bool flag_of(const json_t *object, const char *name) { return json_is_true(json_object_get(object, name)); }

static void read_memory(const json_t *device, smt_device_info *info) {
    size_t i;
    json_t *value;
    json_array_foreach(json_object_get(device, "heaps"), i, value) {
        info->heaps[info->n_heaps++] = (smt_heap_info){.bytes = count_of(value, "bytes"),
                                                       .budget = count_of(value, "budget"),
                                                       .device_local = flag_of(value, "device_local"),
                                                       .host_visible = flag_of(value, "host_visible")};
    }
    json_array_foreach(json_object_get(device, "memory_types"), i, value) {
        info->memory_types[info->n_memory_types++] = (smt_memory_type){.heap = (uint32_t)count_of(value, "heap"),
                                                                       .device_local = flag_of(value, "device_local"),
                                                                       .host_visible = flag_of(value, "host_visible"),
                                                                       .host_coherent = flag_of(value, "host_coherent"),
                                                                       .host_cached = flag_of(value, "host_cached")};
    }
}

void smt_test_machine_open(const char *name, smt_test_machine *out) {
    char path[256];
    size_t i;
    json_t *device;
    *out = (smt_test_machine){0};
    snprintf(path, sizeof path, "machines/%s.json", name);
    out->document = json_load_file(smt_test_data(path), 0, NULL);
    if (!json_is_array(out->document)) fail_msg("%s cannot be read", path);
    json_array_foreach(out->document, i, device) {
        const json_t *limits = json_object_get(device, "limits");
        smt_machine_device *to = &out->devices[out->n_devices++];
        to->read_bytes_s = json_number_value(json_object_get(device, "read_bytes_s"));
        to->link_bytes_s = json_number_value(json_object_get(device, "link_bytes_s"));
        to->info = (smt_device_info){.id = json_string_value(json_object_get(device, "id")),
                                     .name = json_string_value(json_object_get(device, "name")),
                                     .kind = json_string_value(json_object_get(device, "kind")),
                                     .uuid = json_string_value(json_object_get(device, "uuid")),
                                     .max_allocation = count_of(limits, "max_allocation"),
                                     .max_storage_range = count_of(limits, "max_storage_range"),
                                     .max_workgroup = (uint32_t)count_of(limits, "max_workgroup"),
                                     .max_shared_bytes = (uint32_t)count_of(limits, "max_shared_bytes"),
                                     .storage_align = (uint32_t)count_of(limits, "storage_align"),
                                     .subgroup_size = (uint32_t)count_of(limits, "subgroup_size"),
                                     .subgroup_min = (uint32_t)count_of(limits, "subgroup_min"),
                                     .subgroup_ballot = true};
        read_memory(device, &to->info);
    }
}

void smt_test_machine_close(smt_test_machine *machine) {
    json_decref(machine->document);
    *machine = (smt_test_machine){0};
}
