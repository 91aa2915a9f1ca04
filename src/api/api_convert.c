/* api_convert.c: smt_convert over src/convert. */
#include "api_internal.h"
#include "convert/convert.h"

smt_status smt_convert(const smt_convert_options *options, smt_error *err) {
    smt_convert_options o;
    SMT_TRY(smt_api_copy_options(&o, sizeof o, options, "smt_convert_options", err));
    return smt_convert_checkpoint(&o, err);
}
