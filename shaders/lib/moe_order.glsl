// moe_order.glsl: the experts of a row in the order that they are summed in. The includer has declared the buffers `ids` and `weights`.
#ifndef MOE_ORDER_GLSL
#define MOE_ORDER_GLSL

shared uint order[SMT_MAX_USED]; // slots in ascending expert id
shared uint range_of[SMT_MAX_USED];
shared float factor[SMT_MAX_USED];

// Every invocation of the workgroup calls it.
void order_experts(uint row, uint n_used, uint range_size) {
    uint lane = gl_LocalInvocationID.x;
    if (lane < n_used) {
        uint mine = ids[row * n_used + lane], rank = 0u;
        for (uint s = 0; s < n_used; s++) rank += uint(ids[row * n_used + s] < mine);
        order[rank] = lane;
        range_of[rank] = mine / range_size;
        factor[rank] = weights[row * n_used + lane];
    }
    barrier();
}

#endif
