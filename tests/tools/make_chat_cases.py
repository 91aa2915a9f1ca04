"""Writes tests/data/chat-cases.json: small templates, and what they print according to Jinja2, the interpreter that chat templates are
written for, with the options that it is run with for them. Needs python3-jinja2.

    python3 tests/tools/make_chat_cases.py tests/data/chat-cases.json

Left out on purpose, because we differ: tuples print as lists here, and a capital sigma at the end of a word becomes a plain small one.
"""
import json
import random
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

MESSAGES = [{"role": "system", "content": "Sys"}, {"role": "user", "content": " Hi <b> "},
            {"role": "assistant", "content": "Yo"}, {"role": "user", "content": "naïve 世界 x"}]

TEMPLATES = r'''
a {{ 'b' }} c
{{ 1 + 2 * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 1.5 + 1 }} {{ 10 / 4 * 2 }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1,'x'] ~ {'k': 'v'} }}
{{ 'a' + 'b' ~ 'c' + 'd' }}
{{ "x" * 3 }} {{ [1] + [2,3] }} {{ 2 * 3 }}
{% if 1 < 2 <= 2 != 3 %}yes{% elif x %}no{% else %}no{% endif %}
{% for m in messages %}{{ loop.index }}:{{ loop.index0 }}:{{ loop.first }}:{{ loop.last }}:{{ loop.length }}:{{ loop.revindex }}:{{ m.role }}|{% endfor %}
{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m['content'] | trim }}{% else %}none{% endfor %}
{% for m in [] %}x{% else %}empty{% endfor %}
{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}
{% for k in {'a': 1, 'b': 2} %}{{ k }}{% endfor %}
{% for c in 'aé世' %}{{ c }}-{% endfor %}
{% set x = 1 %}{% for i in range(3) %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
{% set ns = namespace(x=1, y='q') %}{% for i in range(3) %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = (1, 2) %}{{ t[1] }}
{% set c %}cap {{ 1 }} x{% endset %}{{ c }}|{{ c | upper }}
{% macro m(a, b='d', c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(c=3, a=4) }}{{ m('x') | upper }}
{% macro m(x) %}{{ x }}{% if x > 0 %}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(5) }}
{% macro u(a) %}{{ a is defined }}{{ a }}{% endmacro %}{{ u() }}
{% set g = 5 %}{% macro s() %}{{ g }}{% endmacro %}{% for g in [1] %}{{ s() }}{% endfor %}
{{ messages[0].role }}{{ messages[-1]['content'] }}{{ messages[1:] | length }}{{ messages[:-1] | length }}{{ messages[::-1][0].content }}
{{ 'hello'[1] }}{{ 'hello'[-1] }}{{ 'hello'[1:3] }}{{ 'hello'[::-1] }}{{ 'hello'[::2] }}{{ 'héllo'[1] }}{{ 'hello'[10:] }}{{ 'hello'[-3:] }}{{ [1,2,3][5:1:-1] }}
{{ [1,2,3,4][3:0:-1] }}{{ [1,2,3,4][-2:] }}{{ [1,2,3,4][:100] }}{{ [1,2,3,4][-100:2] }}{{ [1,2,3][::-2] }}{{ 'abc'[5] is defined }}
{{ 'a,b,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a,b,c'.split(',', 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ ''.split() }}{{ ''.split(',') }}{{ 'a b  c '.split(none, 1) }}
{{ '  x '.strip() }}|{{ '  x '.lstrip() }}|{{ '  x '.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcba'.strip('ab') }}|{{ '\n\tx\u3000'.strip() }}|
{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith('bc') }}{{ 'abc'.startswith(('x', 'a')) }}{{ 'abc'.find('c') }}{{ 'abc'.find('z') }}{{ 'aXbX'.count('X') }}
{{ 'abab'.replace('a', 'x') }}{{ 'abab'.replace('a', 'x', 1) }}{{ 'abab' | replace('b', '') }}{{ 'Ab'.upper() }}{{ 'Ab'.lower() }}{{ 'hello WORLD' | capitalize }}{{ 'hello wORLD'.title() }}{{ 'ÀéΣα' | lower }}
{{ [1,2] | join(', ') }}{{ ['a','b'] | join }}{{ ', '.join(['x','y']) }}{{ 'abc' | join('-') }}
{{ x | default('d') }}{{ '' | default('d') }}{{ '' | default('d', true) }}{{ none | default('d') }}{{ nope | d }}
{{ [3,1,2] | first }}{{ [3,1,2] | last }}{{ 'abc' | first }}{{ [1,2] | length }}{{ 'äb' | length }}{{ {'a':1} | count }}{{ 'abc' | reverse }}{{ [1,2,3] | reverse | list }}
{{ '3' | int + 1 }}{{ 'x' | int }}{{ 'x' | int(7) }}{{ 3.7 | int }}{{ '2.5' | float }}{{ 5 | string + 'x' }}{{ -3 | abs }}
{{ {'a': 1, 'b': [true, none, 'é"\n\\'], 'c': 1.5, 'd': {}, 'e': []} | tojson }}
{{ {'a': 1, 'b': [1, {'x': 2}], 'd': {}, 'e': []} | tojson(indent=2) }}
{{ "tab\t\x01\x7f/" | tojson }}{{ 'a' | tojson }}{{ none | tojson }}{{ true | tojson }}
{{ messages | map(attribute='role') | join(',') }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | rejectattr('role', 'eq', 'user') | map(attribute='content') | list }}
{{ [1,2,0,3] | select | list }}{{ [1,2,3,4] | reject('even') | list }}{{ [1,2,3,4] | select('divisibleby', 2) | list }}{{ ['a','b','a'] | unique | list }}{{ ['a', 'b'] | reject('equalto', 'a') | list }}{{ messages | selectattr('content') | list | length }}{{ messages | selectattr('role', 'in', ['user']) | list | length }}
{{ 1 is defined }}{{ x is undefined }}{{ none is none }}{{ 'a' is string }}{{ 1 is number }}{{ 1.0 is float }}{{ true is boolean }}{{ {} is mapping }}{{ [] is iterable }}{{ 'a' is sequence }}{{ 3 is odd }}{{ 4 is even }}{{ 4 is divisibleby 2 }}{{ 1 is eq 1 }}{{ 1 is ne 2 }}{{ x is not defined }}{{ not x is defined }}{{ 1 is in [1] }}{{ true is true }}{{ 1 is true }}{{ raise_exception is defined }}{{ 1 is integer }}{{ true is number }}{{ true is integer }}{{ none is iterable }}{{ 1 is iterable }}
{{ 'a' in 'abc' }}{{ 'z' not in 'abc' }}{{ 1 in [1,2] }}{{ 'k' in {'k': 1} }}{{ 'role' in messages[0] }}{{ not 1 in [2] }}
{{ 1 == 1.0 }}{{ true == 1 }}{{ 'a' < 'b' }}{{ [1] == [1] }}{{ {'a': 1} == {'a': 1} }}{{ none == false }}{{ x == y }}{{ 'a' == 1 }}{{ 'é' > 'z' }}
{{ 1 if true else 2 }}{{ 1 if false }}{{ 'a' if x is defined else 'b' if true else 'c' }}{{ (1 if false else 2) + 1 }}
{{ x or 'd' }}{{ 0 and 1 }}{{ 1 and 2 }}{{ '' or none or 'z' }}{{ not 0 }}{{ not not 1 }}
{{ [1, 'a', none, true, 1.5, "it's", 'q"', [2], {'k': 'v'}] }}{{ {'a': none} }}{{ (1,) | list }}
{{ 1_000 }}{{ 100000.0 }}{{ 0.1 }}{{ 1.0 }}{{ 123456789012345.0 }}{{ 0.00001 }}{{ 3.14159 }}{{ 1/3 }}
{{ 'a' 'b' "c" }}{{ 'esc \' \" \\ \n \t \x41 \u00e9 \q' }}
{%- for i in [1,2] -%}  {{ i }}  {%- endfor -%}  end
x  {%- if true %}  y  {%- endif %}  z
  {% if true %}
    body
  {% endif %}
tail
{# comment #}a{# multi
line #}
b{#- trim -#} c
{{- ' x ' -}}
  y
  {%+ if true %}keep{% endif +%}
 after
{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in [1,2] %}{% for j in [3,4] %}{{ i }}{{ j }}{{ loop.index }}{% if j == 3 %}{% break %}{% endif %}{% endfor %}{{ loop.index }}{% endfor %}
{% for i in range(1, 10, 3) %}{{ i }}{% endfor %}{{ range(3) | list }}{{ range(5, 0, -2) | list }}
{% for a in [1,2,3] %}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.previtem is defined }}{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }}{% endfor %}
{% generation %}gen{% endgeneration %}
{{ dict(a=1, b=2) }}{{ {'a': 1}.get('a') }}{{ {'a': 1}.get('z') }}{{ {'a': 1}.get('z', 5) }}{{ {'a': 1}.keys() | list }}{{ {'a': 1}.values() | list }}
{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(2, blank=true) }}
{{ messages[9] is defined }}{{ messages[0].nope is defined }}{{ messages[0].nope }}{{ none.x is defined }}
{{ undefined_name.attr }}
{{ undefined_name + 'a' }}
{{ 'a' + 1 }}
{{ none + 'a' }}
{{ raise_exception('boom') }}
{{ 1 / 0 }}
{{ 'a' < 1 }}
{% for x in 5 %}{% endfor %}
{{ messages.role }}
{{ ns.x }}
{% set ns2.x = 1 %}
{{ 5 | length }}
{{ foo() }}
{% if %}{% endif %}
{% for x %}{% endfor %}
{{ (1 }}
{{ 'abc }}
{% if true %}
{% endfor %}
{% else %}
{{ 1 2 }}
{# open
{{ {'a': 1}['a'] }}{{ {'a': {'b': [1, 2]}}.a.b[1] }}{{ {'a': 1}}}
{{ [1, 2,] }}{{ {'a': 1,} }}{{ [] }}{{ {} }}{{ () | list }}
{{ 5 if messages | length > 3 else 6 }}{{ messages | length == 4 }}{{ messages | length - 1 }}{{ -messages | length if false else 1 }}
{{ 'x' | upper ~ 'y' | lower }}{{ ('x' ~ 'Y') | lower }}{{ 'a' ~ 'B' | lower }}
{{ messages[loop_index | default(0)].role }}{{ messages[0]['ro' ~ 'le'] }}
{% set x = messages[0] %}{{ x.content }}{% set y = x %}{{ y == x }}
{% if messages[0]['role'] == 'system' %}{% set sys = messages[0]['content'] %}{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}{{ sys }}{{ loop_messages | length }}
{{ "{{" }}{{ '%}' }}{{ '}}' }}
{ {% if true %}{ { }% {% endif %} %}
{{ 'a' is string and 'b' is string }}{{ x is defined and x.y }}{{ x is not defined or x.y }}
{{ messages | tojson }}
{{ 'tr' in ['tr'] and 'x' not in 'abc' }}{{ 1 < 2 and 2 < 3 or false }}
{{ 12345678901234567 + 1 }}{{ 9223372036854775807 }}
{{ +3 }}{{ -3 }}{{ - 3 + 5 }}{{ 2 - -1 }}{{ -2 * 3 }}{{ --2 }}
{{ 'abc'|upper|lower|length }}{{ ' a '|trim|length }}{{ 'xax' | trim('x') }}
{{ 7.0 // 2 }}{{ -7.5 % 2 }}{{ 2.0 * 3 }}{{ 1.5 == 3/2 }}{{ true + 1 }}
{%- set content = message.content if message is defined else 'z' -%}{{ content }}
{{ namespace(a=1).a }}{% set n = namespace() %}{% set n.q = 3 %}{{ n.q }}
'''.strip("\n").split("\n")


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.If(jinja2.nodes.Const(True), body, [], []).set_lineno(line)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def whitespace_templates(count):
    """Tags, comments and prints with every kind of white-space control between scraps of text."""
    rnd = random.Random(3)
    opens = ["{% if true %}", "{%- if true %}", "{% if true -%}", "{%+ if true %}", "{% if true +%}", "{%- if true -%}"]
    closes = ["{% endif %}", "{%- endif %}", "{% endif -%}", "{%- endif -%}", "  {% endif %}", "{%+ endif +%}"]
    others = ["{{ 'P' }}", "{{- 'P' }}", "{{ 'P' -}}", "{{- 'P' -}}", "{# c #}", "{#- c #}", "{# c -#}", "{#- c -#}"]
    scraps = ["", " ", "\n", " \n", "\n ", "\n\n", "  \n  ", "\t", "\r\n", "a", "b\n", " c "]
    for _ in range(count):
        text, depth = "", 0
        for _ in range(rnd.randint(2, 7)):
            text += rnd.choice(scraps) + rnd.choice(scraps)
            kind = rnd.random()
            if kind < 0.4:
                text, depth = text + rnd.choice(opens), depth + 1
            elif kind < 0.7 and depth:
                text, depth = text + rnd.choice(closes), depth - 1
            else:
                text += rnd.choice(others)
        text += rnd.choice(scraps)
        while depth:
            text, depth = text + rnd.choice(closes) + rnd.choice(scraps), depth - 1
        yield text


def main():
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                               extensions=["jinja2.ext.loopcontrols", Generation])
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = raise_exception
    cases = []
    for template in TEMPLATES + list(whitespace_templates(120)):
        variables = {"messages": MESSAGES, "tools": None, "documents": None, "add_generation_prompt": True,
                     "bos_token": "", "eos_token": ""}
        try:
            cases.append({"template": template, "text": environment.from_string(template).render(variables)})
        except Exception:  # whatever is wrong with it, we must refuse it too
            cases.append({"template": template, "text": None})
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        json.dump({"made": "tests/tools/make_chat_cases.py, Jinja2 " + jinja2.__version__, "messages": MESSAGES, "cases": cases}, f,
                  ensure_ascii=False, indent=0)
        f.write("\n")


main()
