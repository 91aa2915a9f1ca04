/* cmd_plan.c: `plan`: where every byte of a model would lie, how fast that would be, and what holds it back; from the header alone.
 *
 * A model that does not fit is still shown, with what would make it fit, and the exit status is 1. */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BAR_WIDTH 32
#define GIB       1073741824.0
#define MIB       1048576.0

/* ---- JSON ---- */

static void set_count(json_t *object, const char *name, uint64_t value) {
    json_object_set_new(object, name, cli_json_count(value));
}

static json_t *json_heap(const smt_placement_heap *heap) {
    json_t *object = json_object();
    set_count(object, "bytes", heap->bytes);
    set_count(object, "budget", heap->budget);
    set_count(object, "planned", heap->planned);
    json_object_set_new(object, "tier", json_string(heap->tier));
    set_count(object, "dense", heap->dense);
    set_count(object, "experts", heap->experts);
    set_count(object, "cache", heap->cache);
    set_count(object, "work", heap->work);
    return object;
}

static json_t *json_speed(double value) { return value > 0 ? json_real(value) : json_null(); }

static json_t *json_device(const smt_placement_device *device) {
    json_t *heaps = json_array();
    for (uint32_t i = 0; i < device->n_heaps; i++) json_array_append_new(heaps, json_heap(&device->heaps[i]));
    json_t *object = json_pack("{s:o, s:o, s:s, s:b, s:o}", "id", cli_json_text(device->id), "name", cli_json_text(device->name),
                               "kind", device->kind, "computes", device->computes, "heaps", heaps);
    if (!device->computes) return object;
    json_object_set_new(object, "layers", json_pack("[I, I]", (json_int_t)device->first_layer, (json_int_t)device->last_layer));
    json_object_set_new(object, "experts",
                        json_pack("[I, I]", (json_int_t)device->first_expert, (json_int_t)device->last_expert));
    json_object_set_new(object, "read_bytes_s", json_speed(device->read_bytes_s));
    json_object_set_new(object, "link_bytes_s", json_speed(device->link_bytes_s));
    json_object_set_new(object, "measured", json_boolean(device->measured));
    return object;
}

static json_t *json_item(const smt_placement_item *item, const json_t *ids) {
    json_t *object = json_object();
    json_object_set_new(object, item->kind == SMT_ITEM_MATRIX ? "tensor" : "name", cli_json_text(item->name));
    if (item->n_parts > 1) set_count(object, "part", item->part);
    if (item->layer != UINT32_MAX)
        set_count(object, "layer", item->layer);
    else
        json_object_set_new(object, "layer", json_null());
    if (item->expert != UINT32_MAX) set_count(object, "expert", item->expert);
    json_object_set(object, "device", json_array_get(ids, item->device));
    if (item->reader != item->device) json_object_set(object, "reader", json_array_get(ids, item->reader));
    set_count(object, "heap", item->heap);
    json_object_set_new(object, "tier", json_string(item->tier));
    set_count(object, "memory_type", item->memory_type);
    set_count(object, "buffer", item->buffer);
    set_count(object, "offset", item->offset);
    set_count(object, "bytes", item->bytes);
    return object;
}

static json_t *json_slots(const smt_placement_info *info) {
    double n = (double)info->n_replayed;
    if (info->slot_hits + info->slot_misses == 0) return json_null();
    return json_pack("{s:f, s:f, s:f}", "hits_per_token", (double)info->slot_hits / n, "misses_per_token",
                     (double)info->slot_misses / n, "miss_bytes_per_token", (double)info->slot_miss_bytes / n);
}

static int print_json(const smt_placement *placement, const smt_placement_info *info) {
    json_t *devices = json_array(), *ids = json_array(), *lists[3] = {json_array(), json_array(), json_array()};
    uint64_t bytes[3] = {0};
    for (uint32_t i = 0; i < info->n_devices; i++) {
        smt_placement_device device;
        smt_placement_device_get(placement, i, &device);
        json_array_append_new(devices, json_device(&device));
        json_array_append_new(ids, cli_json_text(device.id));
    }
    for (uint32_t i = 0; i < info->n_items; i++) {
        smt_placement_item item;
        smt_placement_item_get(placement, i, &item);
        int list = item.kind == SMT_ITEM_MATRIX ? 0 : item.kind == SMT_ITEM_CACHE ? 1 : 2;
        bytes[list] += item.bytes;
        json_array_append_new(lists[list], json_item(&item, ids));
    }
    json_t *kv =
        json_pack("{s:o, s:s, s:I, s:I, s:o}", "bytes", cli_json_count(bytes[1]), "type", info->cache_bits == 16 ? "f16" : "f32",
                  "n_ctx", (json_int_t)info->n_ctx, "sessions", (json_int_t)info->n_sessions, "items", lists[1]);
    json_t *scratch =
        json_pack("{s:o, s:I, s:o}", "bytes", cli_json_count(bytes[2]), "n_batch", (json_int_t)info->n_batch, "items", lists[2]);
    json_t *predicted = json_pack("{s:o, s:o, s:s}", "decode_tok_s", json_speed(info->decode_tok_s), "prefill_tok_s",
                                  json_speed(info->prefill_tok_s), "bottleneck", info->bottleneck);
    json_object_set_new(predicted, "slots", json_slots(info));
    json_decref(ids);
    json_t *document = json_pack("{s:o, s:o, s:o, s:o, s:b, s:o, s:o}", "devices", devices, "items", lists[0], "kv", kv,
                                 "scratch", scratch, "fits", info->fits, "why", cli_json_text(info->why), "predicted", predicted);
    return cli_write_json(document, true) ? CLI_DONE : CLI_FAILED;
}

/* ---- text ---- */

/* "5.19 GiB", "640.0 MiB", in `width` columns. */
static void print_size(uint64_t bytes, int width) {
    if (bytes >= 1 << 30)
        cli_print("%*.2f GiB", width, (double)bytes / GIB);
    else
        cli_print("%*.1f MiB", width, (double)bytes / MIB);
}

static void print_part(const char *name, uint64_t bytes, uint32_t count, const char **before) {
    if (bytes == 0) return;
    cli_print("%s", *before);
    if (count) cli_print("%u ", count);
    cli_print("%s ", name);
    print_size(bytes, 0);
    *before = ", ";
}

static void print_heap(uint32_t index, const smt_placement_heap *heap) {
    char bar[BAR_WIDTH + 1];
    double share = heap->budget ? (double)heap->planned / (double)heap->budget : heap->planned > 0;
    int filled = share >= 1 ? BAR_WIDTH : (int)(share * BAR_WIDTH + 0.999);
    memset(bar, '-', BAR_WIDTH);
    memset(bar, share > 1 ? '!' : '#', (size_t)filled);
    bar[BAR_WIDTH] = 0;
    cli_print("  heap %-2u [%s] ", index, bar);
    print_size(heap->planned, 7);
    cli_print(" of ");
    print_size(heap->budget, 7);
    cli_print("  %s\n", heap->tier);
    if (heap->planned == 0) return;
    const char *before = "          ";
    print_part("matrices", heap->dense, 0, &before);
    print_part("experts", heap->experts, heap->n_experts, &before);
    print_part("cache", heap->cache, 0, &before);
    print_part("working memory", heap->work, 0, &before);
    cli_print("\n");
}

/* shared: devices share the experts of each layer. */
static void print_work(const smt_placement_device *device, bool shared) {
    cli_print(", %s, reads %.0f GB/s (%s)\n  ", device->kind, device->read_bytes_s * 1e-9,
              device->measured ? "measured" : "assumed");
    if (!device->experts_only) cli_print("layers %u to %u", device->first_layer, device->last_layer - 1);
    if (!shared) return;
    if (!device->experts_only) cli_print(device->last_expert > device->first_expert ? ", " : " without experts");
    if (device->last_expert > device->first_expert) cli_print("experts %u to %u", device->first_expert, device->last_expert - 1);
    if (device->experts_only) cli_print(" of layers %u to %u", device->first_layer, device->last_layer - 1);
}

static void print_device(const smt_placement_device *device, bool shared) {
    bool host = !strcmp(device->kind, "host"), any = device->computes;
    for (uint32_t i = 0; i < device->n_heaps; i++) any = any || device->heaps[i].planned > 0;
    if (!any && host) return;
    cli_print("%s  ", device->id);
    cli_print_safe(device->name, strlen(device->name));
    if (!any) {
        cli_print(", %s: not used\n", device->kind);
        return;
    }
    if (device->computes) print_work(device, shared);
    cli_print("\n");
    for (uint32_t i = 0; i < device->n_heaps; i++)
        if (device->heaps[i].planned || (!host && strncmp(device->heaps[i].tier, "host", 4))) print_heap(i, &device->heaps[i]);
}

/* Room for experts that lie elsewhere. */
static void print_slots(const smt_placement *placement, const smt_placement_info *info) {
    uint64_t n = 0, bytes = 0;
    for (uint32_t i = 0; i < info->n_items; i++) {
        smt_placement_item item;
        smt_placement_item_get(placement, i, &item);
        if (item.kind != SMT_ITEM_SLOT) continue;
        n++;
        bytes += item.bytes;
    }
    if (n == 0) return;
    cli_print("slots for %" PRIu64 " experts from elsewhere, ", n);
    print_size(bytes, 0);
    cli_print(" of the working memory\n");
    if (info->slot_hits + info->slot_misses == 0) return;
    double tokens = (double)info->n_replayed, all = (double)(info->slot_hits + info->slot_misses);
    cli_print("by the profile, a token finds %.1f of its %.1f experts from elsewhere there, and reads ",
              (double)info->slot_hits / tokens, all / tokens);
    print_size((uint64_t)((double)info->slot_miss_bytes / tokens), 0);
    cli_print(" for the others\n");
}

static void print_text(const smt_placement *placement, const smt_placement_info *info) {
    cli_print("%s: context %u, cache f%u, %u sessions, prompts in steps of %u\n\n", info->fits ? "fits" : "does not fit",
              info->n_ctx, info->cache_bits, info->n_sessions, info->n_batch);
    smt_placement_device device;
    bool shared = false;
    for (uint32_t i = 0; i < info->n_devices; i++) {
        smt_placement_device_get(placement, i, &device);
        shared = shared || device.experts_only;
    }
    for (uint32_t i = 0; i < info->n_devices; i++) {
        smt_placement_device_get(placement, i, &device);
        print_device(&device, shared);
    }
    print_slots(placement, info);
    if (info->decode_tok_s > 0)
        cli_print("\n%s: %.1f tokens/s, prompts %.0f tokens/s (%s)\n", info->fits ? "predicted" : "predicted, if there were room",
                  info->decode_tok_s, info->prefill_tok_s, info->bottleneck);
}

/* ---- the command ---- */

static int make(const cli_args *args, const smt_file *file, const cli_machine *machine, const cli_placement *where) {
    smt_plan_options options = {.struct_size = sizeof options,
                                .machine = machine->devices,
                                .n_machine = machine->n_devices,
                                .devices = cli_text(args, OPT_DEVICE),
                                .kernels = cli_text(args, OPT_KERNELS),
                                .shares = where->n_shares ? where->shares : NULL,
                                .n_shares = where->n_shares,
                                .placement = &where->options};
    int result = CLI_DONE;
    smt_error err = {0};
    smt_placement *placement;
    smt_placement_info info;
    smt_status status = smt_placement_create(file, &options, &placement, &err);
    if (status != SMT_OK) {
        cli_fail_library(status, &err);
        return status == SMT_INVALID || status == SMT_NOT_FOUND ? CLI_WRONG : CLI_FAILED;
    }
    result = cli_placement_replay(args, placement);
    smt_placement_get(placement, &info);
    if (result == CLI_DONE && cli_flag(args, OPT_JSON))
        result = print_json(placement, &info);
    else if (result == CLI_DONE)
        print_text(placement, &info);
    if (result == CLI_DONE && !info.fits) result = cli_fail(CLI_FAILED, "does not fit: %s", info.why);
    smt_placement_free(placement);
    return result;
}

int cmd_plan(const cli_args *args) {
    if (!cli_need_model(args)) return CLI_WRONG;
    smt_error err = {0};
    smt_file *file;
    cli_machine machine = {0};
    cli_placement where = {0};
    smt_status opened = smt_file_open(cli_model(args), &file, &err);
    int status = opened == SMT_OK ? cli_placement_read(args, &where) : cli_fail_library(opened, &err);
    if (status == CLI_DONE) status = cli_machine_read(args, &machine);
    if (status == CLI_DONE) status = make(args, file, &machine, &where);
    cli_placement_free(&where);
    cli_machine_free(&machine);
    smt_file_free(file);
    return status;
}
