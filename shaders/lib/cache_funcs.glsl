// cache_funcs.glsl: where a cached row lies, and its values. SMT_CACHE: 0 = float32, 1 = float16.
// A layer's cache is windows W of blocks of SMT_BLOCK rows; the block table of the row's slot names the physical block.
// TABLE_BINDING: the block table. Include after the windows have been declared by the kernel (read-only or writable).
#ifndef CACHE_FUNCS_GLSL
#define CACHE_FUNCS_GLSL

layout(std430, binding = TABLE_BINDING) readonly buffer Blocks { uint block_table[]; };

uint cache_block(uint slot, uint index, uint table_stride) { return block_table[slot * table_stride + index / SMT_BLOCK]; }
// Word of the first value of row `index` inside its window.
uint cache_word(uint block, uint index, uint blocks_per_window, uint row_words) {
    return (block % blocks_per_window * SMT_BLOCK + index % SMT_BLOCK) * row_words;
}

#endif
