// coop_matrix.comp: compiles where the compiler knows GL_KHR_cooperative_matrix; nobody runs it.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
layout(local_size_x = 32) in;
shared f16vec4 memory[64];
void main() {
    coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA> a;
    coopMatLoad(a, memory, 0, 4, gl_CooperativeMatrixLayoutRowMajor);
}
