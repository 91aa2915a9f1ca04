/* api_quantize.c: smt_quantize over src/convert. */
#include "api_internal.h"
#include "convert/convert.h"

smt_status smt_quantize(const smt_quantize_options *options, smt_error *err) {
    smt_quantize_options o;
    SMT_TRY(smt_api_copy_options(&o, sizeof o, options, "smt_quantize_options", err));
    return smt_convert_quantize(&o, err);
}
