#!/usr/bin/env python3
"""Writes jinja.json: small templates and what Jinja2 makes of them, set up as transformers does it.

    tests/goldens/make_jinja.py             # writes jinja.json beside itself
    tests/goldens/make_jinja.py PROGRAM N   # N random templates to build/release/tests/chat_render: 0 differences?

Each row of jinja.json is [template, what Jinja2 prints or null where it fails]. Needs jinja2; made with 3.1.6.
"""
import copy, datetime, json, pathlib, random, subprocess, sys
import jinja2, jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

MESSAGES = [{"role": "system", "content": " Be brief.\n"}, {"role": "user", "content": "Hi, señor"},
            {"role": "assistant", "content": "<think>\nHm\n</think>\n\nHello!"}, {"role": "user", "content": ""}]
VARIABLES = dict(messages=MESSAGES, tools=None, documents=None, add_generation_prompt=True,
                 bos_token="<s>", eos_token="</s>")

# White space.
SPACE = [
    "a\n{% if true %}\nb\n{% endif %}\nc\n", "a\n  {% if true %}\n  b\n  {% endif %}\n  c\n\n",
    "a \n {{ 1 }} \n b", "a \n {{- 1 -}} \n b", "a \n {%- if true -%} \n b {%- endif -%} \n c", "a {# c #} b",
    "a\n {# c #}\nb", "a\n {#- c -#}\n b", "a\n  {%+ if true %}b{% endif +%}\nc", "a\r\nb\rc\r\n",
    "\n\n{{ 1 }}\n\n", "x{% if true %}  {% endif %}y", "  {% set x = 1 %}  {% set y = 2 %}  {{ x }}",
    "{{ '{{' }} { } {x} %} }} #}", "{{ {'a': {'b': 1}}['a']['b'] }}",
    "a {% raw %} {{ x }} {% y %} {% endraw %} b", "a\n{% raw %}\nx\n{% endraw %}\nb",
    "a {%- raw -%} x {%- endraw -%} b", "{%- for m in messages %}\n    {{- m.role }}\n{%- endfor %}\n",
    "\u2003{%- if true %}x{% endif -%}\u3000y", "{", "{{ 'a' -}}\n\n\n", "a{# never ends", "a{{ 1",
    "a{% if true %}", "{% endif %}", "{{ ) }}", "{{ 'a }}", "", "\n",
]
# Literals and operators.
VALUES = [
    "1", "0", "1.0", "1500.0", "'a'", "\"it's\"", "'a\\n\\t\\\\\\'\\\"b'", "'\\x41\\u00e9\\U0001f600\\101'",
    "'\\q'", "'a' 'b' \"c\"", "[1, 'a', none, true, 2.0]", "(1,)", "()", "(1, 2)", "1, 2",
    "{'a': 1, 'b': [2]}", "{}", "[]", "[1,]", "true", "False", "None", "none",
    "[\"it's\", 'say \"it\"', 'both \\'\\\"', 'n\\n\\r\\t\\x01']", "2.5", "{1: 'a', 1.0: 'b', true: 'c'}",
    "{'a': 1, 'a': 2}", "7", "100000000000000000000.0", "0.00001", "0.0001", "123456789012345678.0", "1/3",
    "x", "x is defined", "'a' if false", "'a' if true else 'b'", "1 if 0 else 2 if 0 else 3",
]
OPERATORS = [
    "1 + 2 * 3 - 4", "7 // 2", "-7 // 2", "7 % 3", "-7 % 3", "7 % -3", "7 / 2", "6 / 2", "2 ** 3 ** 2",
    "-2 ** 2", "2 * -3", "1.5 + 1", "true + true", "'a' + 'b'", "'a' ~ 1 ~ none ~ [1] ~ x", "'ab' * 3",
    "3 * 'ab'", "[1] * 2", "[1] + [2]", "(1,) + (2,)", "'a' + 1", "1 + none", "[1] + (2,)", "1 == 1.0",
    "1 == true", "'1' == 1", "none == false", "[1, 2] == [1, 2]", "(1,) == [1]", "{'a': 1} == {'a': 1.0}",
    "x == y", "x == none", "1 < 2 < 3", "1 < 2 > 1", "3 > 2 > 2", "'a' < 'b'", "'a' < 'B'", "'é' > 'z'",
    "1 < 'a'", "none < 1", "1 != 2", "2 >= 2", "2 <= 1", "'a' in 'cat'", "'x' not in 'cat'", "1 in [1, 2]",
    "'role' in messages[0]", "'a' in x", "1 in 'a'", "not 1", "not not ''", "1 and 2", "0 and 2", "0 or ''",
    "1 or x.y", "'' or none", "not x", "not 1 == 2", "1 // 0", "1 % 0", "x + 1", "x.y.z", "x['y']",
    "messages[0].role", "messages[0]['role']", "messages[-1].role", "messages[9]", "messages[9].role",
    "messages.0.role", "messages[0].nothing", "'abc'[1]", "'abc'[-1]", "'abc'[5]", "'señor'[2]",
    "'señor'[1:3]", "'abcdef'[::-1]", "'abcdef'[::2]", "'abcdef'[-2:]", "'abcdef'[:-2]", "'abcdef'[4:1:-1]",
    "[1,2,3][1:]", "[1,2,3][::-1]", "messages[1:]|length", "(1,2,3)[:2]", "'abc'[::0]", "1[0]", "none.a",
    "[1,2][true]", "{'a': {'b': [1, {'c': 'd'}]}}.a.b[1].c", "-1|abs", "-1.5|abs", "(-1)|abs", "1 - 2|abs",
    "2|string + 'a'", "{'items': 1}['items']", "{'a': 1}.items() | list", "{'a': 1}.keys() | list",
    "{'a': 1, 'b': 2}.values() | list", "{'a': 1}.get('a')", "{'a': 1}.get('b')", "{'a': 1}.get('b', 'c')",
    "[1, 2].append(3)", "{'a': 1}.update({'b': 1})", "'a'.nothing()", "x()", "messages[0].role.upper()", "+1",
    "- - 1",
]
# Tests.
TESTED = [
    "x", "none", "true", "0", "1", "2", "1.0", "'a'", "''", "[]", "(1,)", "{}", "messages", "{'a': 1}.items()",
    "range(3)", "messages|map(attribute='role')",
]
TESTS = [
    "defined", "undefined", "none", "not none", "boolean", "true", "false", "integer", "float", "number",
    "string", "mapping", "sequence", "iterable", "not string", "eq 1", "ne('a')", "sameas true",
]
CHECKS = [
    "3 is odd", "3 is even", "6 is divisibleby 3", "6 is divisibleby(4)", "1 is in [1]", "2 is gt 1",
    "2 is lt(1)", "2 is ge 2", "1 is le 0", "'a' is equalto 'a'", "x is defined and 1",
    "x is not defined or y is defined", "1 is nothing", "1 if x is defined else 2", "not x is defined",
]
# Filters and methods.
FILTERS = [
    "' a '|trim", "'xxaxx'|trim('x')", "none|trim", "1|trim", "'\u3000a\u00a0'|trim", "'aB'|upper",
    "'aB'|lower", "'hello World'|capitalize", "none|upper", "'abcabc'|replace('b', 'x')",
    "'abcabc'|replace('b', 'x', 1)", "1212|replace('1', '')", "[1,2]|join", "[1,2]|join(', ')",
    "messages|join(', ', attribute='role')", "'abc'|join('-')", "['a', none, 2.5]|join('|')", "x|join",
    "{'a': 1}|join", "messages|length", "'señor'|length", "x|length", "none|length", "{}|count", "1|length",
    "x|default('d')", "none|default('d')", "none|default('d', true)", "''|default('d', boolean=true)",
    "x|default", "x|d('e')", "x.y|default('d')", "messages|first|attr('role')", "(messages|first).role",
    "(messages|last)['role']", "[]|first", "[]|last", "'abc'|first", "'abc'|last", "{'a': 1}|first",
    "'abc'|list", "{'a': 1}|list", "(1,2)|list", "x|list", "none|list", "{'a': 1, 'b': 2}|items|list",
    "x|items|list", "[1]|items|list", "{'b': 1, 'A': 2, 'c': 0}|dictsort", "{'b': 1, 'A': 2}|dictsort(true)",
    "{'b': 1, 'A': 2}|dictsort(by='value')", "{'b': 1, 'A': 2}|dictsort(reverse=true)",
    "messages|map(attribute='role')|list", "messages|map(attribute='role')|join(',')",
    "[{'a': 1}, {}]|map(attribute='a', default='z')|list", "['a', 'b']|map('upper')|list",
    "['a b', 'c d']|map('replace', ' ', '_')|list", "[{'a': {'b': 1}}]|map(attribute='a.b')|list",
    "[[1, 2]]|map(attribute=1)|list", "[0, 1, '', 'a']|select|list", "[0, 1, '', 'a']|reject|list",
    "[1, 2, 3]|select('odd')|list", "[1, 2, 3]|reject('gt', 1)|list",
    "messages|selectattr('role', 'equalto', 'user')|list|length",
    "messages|rejectattr('role', 'eq', 'user')|map(attribute='role')|list",
    "messages|selectattr('content')|map(attribute='role')|list",
    "messages|selectattr('tool_calls', 'defined')|list", "tools|selectattr('a')|list", "x|map('upper')|list",
    "(messages|selectattr('none'))|length", "'yes' if messages|selectattr('none') else 'no'", "[3, 1, 2]|sort",
    "['b', 'A', 'c']|sort", "['b', 'A']|sort(case_sensitive=true)", "[1, 2]|sort(reverse=true)",
    "messages|sort(attribute='role')|map(attribute='role')|list", "[1, 'a']|sort", "[1, 1, 2]|unique|list",
    "['a', 'A']|unique|list", "[3, 1]|min", "[3, 1]|max", "[]|min", "[1, 2]|sum",
    "[{'a': 1}, {'a': 2}]|sum(attribute='a')", "[1]|sum(start=5)", "[1, 2]|reverse|list", "'abc'|reverse",
    "'3'|int", "'x'|int", "'x'|int(7)", "' 42 '|int", "'3.9'|int", "3.9|int", "none|int", "true|int",
    "'+5'|int", "'1.5'|float", "'x'|float", "2|float", "2.5|round", "3.5|round", "2|round", "-3|abs",
    "1|string", "none|string", "'<a>'|safe", "('<a>'|safe) ~ '<b>'", "'<a>'|safe|length", "'<a>' + 'b'",
    "{'a': 1}|string", "'a\nb'|indent", "'a\nb\n\nc'|indent(2, true)", "'a\n\nc'|indent(2, false, true)",
    "'a\nb'|indent('> ')", "'a'|nothing", "'a'|trim(1, 2)", "'a'|trim(nothing=1)",
    "{'a': [1, 2.0, none, true, 'é\\n\"/\\\\\\u0007']}|tojson", "{'a': [1, {}], 'b': []}|tojson(indent=2)",
    "{'a': [1, {}]}|tojson(indent='--')", "[1, {'a': 2}]|tojson(separators=(',', ':'))",
    "{'b': 1, 'a': 2}|tojson(sort_keys=true)", "'é😀'|tojson(ensure_ascii=true)", "x|tojson", "(1, 2)|tojson",
    "[]|tojson(indent=1)", "none|tojson", "0.1|tojson", "1000.0|tojson",
]
METHODS = [
    "' a '.strip()", "'xay'.strip('xy')", "' a '.lstrip() ~ '|'", "' a '.rstrip() ~ '|'",
    "'a,b,,c'.split(',')", "'a,b,c'.split(',', 1)", "' a  b\tc '.split()", "' a b c'.split(none, 1)",
    "'abc'.split('')", "'a,b,c'.rsplit(',', 1)", "'a\nb\r\nc\n'.splitlines()", "'abc'.startswith('a')",
    "'abc'.startswith(('x', 'a'))", "'abc'.endswith('bc')", "'abc'.startswith(1)", "'aXbX'.replace('X', '')",
    "'aXbX'.replace('X', 'yy', 1)", "'aB'.upper() + 'aB'.lower()", "'hELLO'.capitalize()", "'señor'.find('o')",
    "'abc'.find('x')", "'abcabc'.rfind('b')", "'aXbX'.count('X')", "'-'.join(['a', 'b'])", "'-'.join([1])",
    "'{} {}'.format(1, 'a')", "'{1}{0}'.format(1, 2)", "'{a}-{{}}'.format(a=none)", "'{}'.format()",
    "'12'.isdigit()", "''.isdigit()", "'a'.isdigit()", "'abc'.removeprefix('a')", "'abc'.removesuffix('c')",
    "messages[2].content.split('</think>')[-1].lstrip('\\n')",
    "messages[2]['content'].split('<think>')[-1].rstrip()", "[1, 2, 1].count(1)", "[1, 2].index(2)",
    "[1].index(2)", "'a'.join", "(1, 2).count(1)", "range(3)|list", "range(1, 7, 3)|list",
    "range(3, 0, -1)|list", "range(2)[1]", "range(3)|length", "range(1, 2, 0)", "dict(a=1)",
    "dict({'b': 2}, a=1)", "namespace(a=1).a", "namespace().b", "strftime_now('%Y-%m-%d %d %b %B %A %H:%M')",
    "raise_exception('no')", "strftime_now is defined", "raise_exception is defined", "nothing is defined",
    "messages[0].items()|list|length",
]
# Statements.
STATEMENTS = [
    "{% if x %}a{% elif none %}b{% elif 1 %}c{% else %}d{% endif %}", "{% if false %}a{% endif %}b",
    "{% if 1 %}{% set y = 2 %}{% endif %}{{ y }}",
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}"
    "{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined }}<{{ m.role }}"
    ">{{ loop.nextitem.role if not loop.last }};{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }}{{ m.content }}{% else %}"
    "none{% endfor %}",
    "{% for a in [] %}x{% else %}e{% endfor %}", "{% for a in x %}x{% else %}e{% endfor %}",
    "{% for a in none %}x{% endfor %}", "{% for a in 1 %}x{% endfor %}",
    "{% for c in 'añb' %}{{ c }}.{% endfor %}", "{% for k in {'a': 1, 'b': 2} %}{{ k }}{% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in {'a': 1}|items %}{{ k }}={{ v }};{% endfor %}",
    "{% for a, b in [[1, 2], [3]] %}{{ a }}{% endfor %}",
    "{% for (a, b) in [(1, 2)] %}{{ a }}{{ b }}{% endfor %}",
    "{% set y = 1 %}{% for i in [1, 2] %}{{ y }}{% set y = y + 1 %}{{ y }}{% endfor %}{{ y }}",
    "{% set ns = namespace(n=0) %}{% for i in [1, 2, 3] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{% set ns = namespace() %}{% set ns.a = [1] %}{{ ns.a + [2] }}",
    "{% for i in [1, 2] %}{% for j in 'ab' %}{{ loop.index }}{{ i }}{{ j }}{% endfor %}{{ loop.index }}"
    " {% endfor %}",
    "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}"
    "{{ i }}{% endfor %}",
    "{% for i in [1] %}{% set z = 1 %}{% endfor %}{{ z is defined }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a = b = 1 %}", "{% set t = (1, 2) %}{{ t }}", "{% set y %}a {{ 1 }}{% endset %}[{{ y }}]",
    "{% set y | upper %}a{% set z = 1 %}{% endset %}{{ y }}{{ z is defined }}",
    "{% macro f(a, b='x', c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }}{{ f(1, 2) }}"
    "{{ f(1, c=3) }}{{ f(b=1, a=2) }}{{ f() }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(z=2) }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% set y = 1 %}{% macro f() %}{{ y }}{% endmacro %}{% set y = 2 %}{{ f() }}",
    "{% macro f() %}{% set y = 5 %}{{ y }}{% endmacro %}{{ f() }}{{ y is defined }}",
    "{% macro f() %}a{% endmacro %}{{ f()|upper }}{{ f() is string }}{{ f is defined }}",
    "{% for i in [1, 2] %}{% macro f() %}{{ i }}{% endmacro %}{{ f() }}{% endfor %}",
    "{% macro f(a, b=a) %}{{ b }}{% endmacro %}{{ f(4) }}", "{{ f() }}{% macro f() %}a{% endmacro %}",
    "{% for m in messages %}{% generation %}{{ m.role }}{% set q = 1 %}{% endgeneration %}{% endfor %}"
    "{{ q is defined }}",
    "{% filter upper %}a{{ 'b' }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}xa{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}",
    "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% break %}", "{% nothing %}",
    "{% for a in [1] recursive %}{% endfor %}", "{% do x %}", "{% if %}a{% endif %}",
    "{% for in x %}{% endfor %}", "{% for a of x %}{% endfor %}", "{% set %}", "{% set 1 = 2 %}", "{% else %}",
    "{% if 1 %}{% endfor %}", "{% macro f %}{% endmacro %}", "{{ 1 2 }}", "{{ }}", "{{ 1 + }}", "{{ [1 }}",
    "{% set ns.a = 1 %}", "{% set x = 'a' %}{% set x.b = 1 %}", "{{ messages[0] }}",
    "{{ messages[0].content|trim }}",
    "{% for m in messages %}{{ bos_token if loop.first }}"
    "{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|assistant|>' }}{% endif %}",
    "{{ tools is none }}{{ tools is defined }}{{ documents }}",
    "{%- if messages[0]['role'] == 'system' -%}\n  {%- set s = messages[0]['content'] -%}"
    "\n  {%- set rest = messages[1:] -%}\n{%- else -%}\n{%- set rest = messages -%}{%- endif -%}\n{{ s }}"
    "{{ rest|length }}",
    "{% if (messages[0]['role'] == 'user') != (loop is defined) %}a{% endif %}",
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}",

    "{% for m in messages[::-1] %}{% set i = messages|length - 1 - loop.index0 %}{{ i }}{{ m.role }}{% endfor %}",
    "{{ 'a' }}{{ none }}{{ true }}{{ 1.0 }}{{ [] }}{{ x }}",
    "{% set gen = messages|map(attribute='role') %}{{ gen|first }}",
    "{% set ns = namespace(a=1) %}{% macro f() %}{% set ns.a = 2 %}{% endmacro %}{{ f() }}{{ ns.a }}",
    "{% for x in [1] %}{% endfor %}{{ x is defined }}", "{{ loop is defined }}",
    "{% set loop = 1 %}{{ loop }}",
]


class Generation(jinja2.ext.Extension):
    """{% generation %}, which prints what it encloses."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

    def _same(self, caller):
        return caller()


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


def to_json(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    """As transformers sets it up, on the day that it always is in GRETA."""
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                         extensions=[Generation, jinja2.ext.loopcontrols])
    made.filters["tojson"] = to_json
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = datetime.datetime(2024, 7, 26).strftime
    return made


def rendered(env, template, variables=VARIABLES):
    """None where the template fails."""
    try:
        return env.from_string(template).render(**copy.deepcopy(variables))
    except Exception:
        return None


def cases():
    expressions = VALUES + OPERATORS + CHECKS + FILTERS + METHODS
    expressions += [f"{value} is {test}" for value in TESTED for test in TESTS]
    return SPACE + ["{{ " + one + " }}" for one in expressions] + STATEMENTS


def write():
    env = environment()
    rows = [[template, rendered(env, template)] for template in dict.fromkeys(cases())]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path = pathlib.Path(__file__).with_name("jinja.json")
    path.write_text("[\n" + lines + "\n]\n")
    print(f"{path.name}: {len(rows)} templates, {sum(text is None for _, text in rows)} of which Jinja2 refuses")


class Writer:
    """Random templates out of the pieces above."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        # What Jinja2 does not know it refuses where it compiles; GRETA, where it is reached.
        self.pieces = [one for one in VALUES + OPERATORS + FILTERS + METHODS + CHECKS if "nothing" not in one]
        self.names = ["x", "y", "m", "ns.a", "messages", "m.role", "m['content']", "loop.index0", "loop.last",
        "tools"]
        single = [one for one in self.pieces if one.count("|") == 1 and "'|'" not in one]
        self.filters = sorted({one.split("|")[1] for one in single})

    def expression(self, depth=0):
        choice = self.random.random()
        one = lambda: self.expression(depth + 1)
        if depth > 2 or choice < 0.3:
            return self.random.choice(self.names + ["'a'", "1", "0", "none"])
        if choice < 0.5:
            return "(" + self.random.choice(self.pieces) + ")"
        if choice < 0.65:
            return "(" + one() + ")|" + self.random.choice(self.filters)
        if choice < 0.85:
            sign = self.random.choice(["+", "~", "==", "!=", "and", "or", "in", "<", "*", "-", "not in"])
            return f"({one()} {sign} {one()})"
        if choice < 0.92:
            return f"({one()} if {one()} else {one()})"
        return f"({one()} is {self.random.choice(TESTS)})"

    def dash(self):
        return self.random.choice(["", "", "-"])

    def tag(self, text):
        return "{%" + self.dash() + " " + text + " " + self.dash() + "%}"

    def body(self, depth=0):
        return "".join(self.statement(depth) for _ in range(self.random.randint(1, 3)))

    def statement(self, depth):
        choice = self.random.random()
        if choice < 0.25:
            return self.random.choice([" ", "\n", "a", " b\n", "\n  "])
        if choice < 0.6 or depth > 2:
            return "{{" + self.dash() + " " + self.expression() + " " + self.dash() + "}}"
        if choice < 0.7:
            return self.tag(f"set {self.random.choice(['x', 'y', 'm'])} = {self.expression()}")
        if choice < 0.8:
            other = self.tag("else") + self.body(depth + 1) if self.random.random() < 0.5 else ""
            return self.tag("if " + self.expression()) + self.body(depth + 1) + other + self.tag("endif")
        if choice < 0.95:
            over = self.random.choice(["messages", "[1, 2]", "'ab'", "range(3)", self.expression()])
            condition = f" if {self.expression()}" if self.random.random() < 0.2 else ""
            return self.tag(f"for m in {over}{condition}") + self.body(depth + 1) + self.tag("endfor")
        return self.tag(f"macro {self.random.choice('fx')}(y, x=1)") + self.body(depth + 1) + self.tag("endmacro")


def compare(program, count, seed=0):
    """Random templates: GRETA must print what Jinja2 prints, or refuse."""
    env, writer = environment(), Writer(seed)
    templates = ["{% set ns = namespace(a=1) %}" + writer.body() for _ in range(count)]
    messages = [[m["role"], m["content"]] for m in MESSAGES]
    lines = "".join(json.dumps({"template": t, "messages": messages}) + "\n" for t in templates)
    run = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    counts = {"same": 0, "both refuse": 0, "only GRETA refuses": 0, "different": 0}
    reasons = {}
    for template, line in zip(templates, run.stdout.splitlines(), strict=True):
        answer, right = json.loads(line), rendered(env, template)
        right = right and right.removeprefix("<s>")
        if "error" in answer:
            kind = "both refuse" if right is None else "only GRETA refuses"
            if right is not None:
                reason = answer["error"].split(": ", 2)[-1]
                reasons[reason] = reasons.get(reason, 0) + 1
        else:
            kind = "same" if answer["text"] == right else "different"
        counts[kind] += 1
        if kind == "different":
            print(f"DIFFERENT: {template!r}\n  GRETA  {answer['text']!r}\n  Jinja2 {right!r}")
    for reason, n in sorted(reasons.items(), key=lambda one: -one[1])[:20]:
        print(f"{n:6} {reason}")
    print(f"{count} templates: {counts}")
    return counts["different"] > 0


if __name__ == "__main__":
    sys.exit(compare(sys.argv[1], int(sys.argv[2]), int((sys.argv[3:] or [0])[0])) if len(sys.argv) > 2 else write())
