/* chat_known.c: the templates known by name: the marks a file's template is recognised by, what ends an answer besides the
 * vocabulary's end tokens, and a program of our own for files that have no template. Names are those llama.cpp's users know.
 *
 * DeepSeek's special tokens are written with a full-width bar (U+FF5C) and a low block (U+2581). The answers' marks matter to the
 * byte: a blank after "Assistant:" makes the small V2 models answer in another language. */
#include "chat_internal.h"

#include <string.h>

static const char deepseek3[] =
    "{%- set ns = namespace(system='', after_tool=false, outputs=false) %}"
    "{%- for message in messages if message.role == 'system' %}"
    "{%- set ns.system = ns.system + ('\\n\\n' if ns.system else '') + message.content %}"
    "{%- endfor %}"
    "{{- bos_token + ns.system }}"
    "{%- for message in messages %}"
    "{%- if ns.outputs and message.role != 'tool' %}"
    "{{- '<｜tool▁outputs▁end｜>' }}{%- set ns.outputs = false %}"
    "{%- endif %}"
    "{%- if message.role == 'user' %}"
    "{{- '<｜User｜>' + message.content }}{%- set ns.after_tool = false %}"
    "{%- elif message.role == 'tool' %}"
    "{{- '\\n' if ns.outputs else '<｜tool▁outputs▁begin｜>' }}"
    "{{- '<｜tool▁output▁begin｜>' + message.content + '<｜tool▁output▁end｜>' }}"
    "{%- set ns.outputs = true %}{%- set ns.after_tool = true %}"
    "{%- elif message.role == 'assistant' %}"
    "{%- if not ns.after_tool %}{{- '<｜Assistant｜>' }}{%- endif %}"
    "{%- if message.content %}{{- message.content.split('</think>')[-1] }}{%- endif %}"
    "{%- if message.tool_calls %}"
    "{{- '<｜tool▁calls▁begin｜>' }}"
    "{%- for call in message.tool_calls %}"
    "{%- set arguments = call.function.arguments %}"
    "{{- '' if loop.first else '\\n' }}"
    "{{- '<｜tool▁call▁begin｜>' + call.type + '<｜tool▁sep｜>' + call.function.name + '\\n```json\\n' }}"
    "{{- (arguments if arguments is string else arguments | tojson) + '\\n```<｜tool▁call▁end｜>' }}"
    "{%- endfor %}"
    "{{- '<｜tool▁calls▁end｜>' }}"
    "{%- endif %}"
    "{{- eos_token }}{%- set ns.after_tool = false %}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if ns.outputs %}{{- '<｜tool▁outputs▁end｜>' }}{%- endif %}"
    "{%- if add_generation_prompt and not ns.after_tool %}{{- '<｜Assistant｜>' }}{%- endif %}";

static const char deepseek2[] = "{{- bos_token }}"
                                "{%- for message in messages %}"
                                "{%- if message.role == 'user' %}{{- 'User: ' + message.content + '\\n\\n' }}"
                                "{%- elif message.role == 'assistant' %}{{- 'Assistant: ' + message.content + eos_token }}"
                                "{%- elif message.role == 'system' %}{{- message.content + '\\n\\n' }}{%- endif %}"
                                "{%- endfor %}"
                                "{%- if add_generation_prompt %}{{- 'Assistant:' }}{%- endif %}";

static const char deepseek[] = "{{- bos_token }}"
                               "{%- for message in messages %}"
                               "{%- if message.role == 'system' %}{{- message.content }}"
                               "{%- elif message.role == 'user' %}{{- '### Instruction:\\n' + message.content + '\\n' }}"
                               "{%- else %}{{- '### Response:\\n' + message.content + '\\n<|EOT|>\\n' }}{%- endif %}"
                               "{%- endfor %}"
                               "{%- if add_generation_prompt %}{{- '### Response:\\n' }}{%- endif %}";

static const char vl2[] = "{{- bos_token }}"
                          "{%- for message in messages %}"
                          "{%- if message.role == 'system' %}{{- message.content + '\\n\\n' if message.content else '' }}"
                          "{%- elif message.role == 'user' %}{{- '<|User|>: ' + message.content + '\\n\\n' }}"
                          "{%- else %}{{- '<|Assistant|>: ' + message.content + eos_token }}{%- endif %}"
                          "{%- endfor %}"
                          "{%- if add_generation_prompt %}{{- '<|Assistant|>:' }}{%- endif %}";

static const char llama2[] = "{%- set first = messages[0].role == 'system' %}"
                             "{%- for message in (messages[1:] if first else messages) %}"
                             "{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
                             "{{- raise_exception('roles must alternate, beginning with the user') }}"
                             "{%- endif %}"
                             "{%- set content = message.content %}"
                             "{%- if first and loop.first %}"
                             "{%- set content = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' + content %}"
                             "{%- endif %}"
                             "{%- if message.role == 'user' %}{{- bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
                             "{%- else %}{{- ' ' + content.strip() + ' ' + eos_token }}{%- endif %}"
                             "{%- endfor %}";

static const char llama3[] =
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}";

static const char chatml[] = "{%- for message in messages %}"
                             "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
                             "{%- endfor %}"
                             "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

static const smt_chat_row rows[] = {
    {"deepseek3", {"<｜User｜>", "<｜Assistant｜>"}, {NULL}, {"<｜User｜>"}, deepseek3},
    {"deepseek2", {"'Assistant: ' + message['content'] + eos_token"}, {"\nUser:"}, {NULL}, deepseek2},
    {"deepseek", {"### Instruction:", "<|EOT|>"}, {"\n### Instruction:"}, {"<|EOT|>"}, deepseek},
    {"deepseek-vl2", {"<|User|>: ", "<|Assistant|>: "}, {"<|User|>:"}, {"<|User|>"}, vl2},
    {"llama2", {"[INST]", "<<SYS>>"}, {"[INST]"}, {NULL}, llama2},
    {"llama3", {"<|start_header_id|>", "<|eot_id|>"}, {NULL}, {"<|eot_id|>", "<|start_header_id|>"}, llama3},
    {"chatml", {"<|im_start|>", "<|im_end|>"}, {NULL}, {"<|im_end|>", "<|im_start|>"}, chatml},
};

const char *smt_chat_known(uint32_t index) { return index < SMT_COUNT(rows) ? rows[index].name : NULL; }

const smt_chat_row *smt_chat_row_named(const char *name, size_t bytes) {
    for (size_t i = 0; i < SMT_COUNT(rows); i++)
        if (strlen(rows[i].name) == bytes && memcmp(rows[i].name, name, bytes) == 0) return &rows[i];
    return NULL;
}

const smt_chat_row *smt_chat_row_of(const char *source, size_t bytes) {
    for (size_t i = 0; i < SMT_COUNT(rows); i++) {
        bool all = true;
        for (size_t k = 0; k < SMT_COUNT(rows[i].marks) && rows[i].marks[k]; k++)
            all = all && smt_mem_find(source, bytes, rows[i].marks[k], strlen(rows[i].marks[k]));
        if (all) return &rows[i];
    }
    return NULL;
}
