// consumer.cpp: the same from C++17; a struct of the interface is filled the C++ way.
#include <seamount.h>

#include <cstdio>

int main(int argc, char **argv) {
    smt_error err{};
    smt_engine_options options{};
    options.struct_size = sizeof options;
    options.device.struct_size = sizeof options.device;
    options.model_path = argc > 1 ? argv[1] : "";
    smt_engine *engine = nullptr;
    const smt_status status = smt_engine_create(&options, &engine, &err);
    std::printf("%s: %s\n", smt_status_name(status), err.message);
    smt_engine_free(engine);
    return 0;
}
