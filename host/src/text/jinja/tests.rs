#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;
use std::time::{Duration, Instant};

const CASES: &str = include_str!("../../../../tests/fixtures/templates/jinja.json");

fn render(source: &str, variables: &Json) -> Result<String, Fault> {
    Template::parse(source)?.render(variables.as_object().unwrap().clone())
}

#[test]
fn pieces_are_rendered_as_by_transformers_or_refused() {
    let fixture: Json = serde_json::from_str(CASES).unwrap();
    let mut variables = fixture["variables"].clone();
    variables["documents"] = Json::Null;
    variables["add_generation_prompt"] = false.into();
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 159);
    for case in cases {
        let piece = case["piece"].as_str().unwrap();
        match (render(piece, &variables), &case["expected"]) {
            (Ok(text), Json::String(expected)) => assert_eq!(text, *expected, "{piece}"),
            (Err(_), Json::Null) => {}
            (found, _) => panic!("{piece}\n{:?}\ninstead of {case}", found.map_err(|e| e.message)),
        }
    }
}

#[test]
fn faults_have_their_line() {
    let fault = |source: &str| {
        let fault = render(source, &json!({})).unwrap_err();
        (fault.line.unwrap(), fault.message)
    };
    assert_eq!(fault("a\n{{ x.y }}"), (2, "'x' is undefined".into()));
    assert_eq!(fault("a\n\n{% if 1 %}\n{{ raise_exception('no') }}{% endif %}"), (4, "no".into()));
    assert_eq!(fault("{% if 1 %}\n"), (1, "expected `endif`, found the end of the template".into()));
    assert_eq!(fault("\n{{ 1 | pprint }}"), (2, "the filter `pprint` is not supported".into()));
}

/// What templates of strangers may try. Each is an error, soon, on a thread's usual stack.
#[test]
fn no_template_hangs_or_takes_all_memory() {
    let doubled =
        "{% set ns = namespace(a='aaaaaaaa') %}{% for i in range(60) %}{% set ns.a = ns.a OP ns.a %}{% endfor %}";
    let nested = "{% set ns = namespace(a=[], b=[]) %}{% for i in range(90) %}{% set ns.a = [ns.a, ns.a] %}\
                  {% set ns.b = [ns.b, ns.b] %}{% endfor %}";
    let mut sources = vec![
        "{% for i in range(2000000000) %}{% endfor %}".to_owned(),
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}".into(),
        "{{ 'a' * 99999999999 }}".into(),
        "{{ [1] * 99999999999 }}".into(),
        doubled.replace("OP", "~"),
        doubled.replace("OP", "+"),
        doubled.replace("'aaaaaaaa'", "[1, 2]").replace("OP", "+"),
        "{% macro f(x) %}{{ f(x + 1) }}{% endmacro %}{{ f(0) }}".into(),
        "{% macro f(x) %}{% for i in range(9) %}{% if x < 30 %}{{ f(x + 1) }}{% endif %}{% endfor %}{% endmacro %}{{ f(0) }}".into(),
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".into(),
        "{% set ns = namespace(a=[]) %}{% for i in range(9999) %}{% set ns.a = [ns.a] %}{% endfor %}".into(),
        format!("{nested}{{{{ ns.a }}}}"),
        format!("{nested}{{{{ ns.a == ns.b }}}}"),
        format!("{nested}{{{{ ns.a in [ns.b] }}}}"),
        format!("{nested}{{{{ [ns.a, ns.b] | unique | list | length }}}}"),
        format!("{nested}{{{{ [ns.a, ns.b] | sort | length }}}}"),
        format!("{nested}{{{{ [ns.a, ns.b].index(ns.b) }}}}"),
        format!("{nested}{{{{ ns.a | tojson }}}}"),
        "{% for i in range(99999) %}{% set l = [loop] %}{% endfor %}".into(),
        "{% for i in range(99999) %}{% for c in 'a' * 9999 %}{% break %}{% endfor %}{% endfor %}".into(),
        "{% set k = 'k' * 999999 %}{% set d = {k: 1} %}{% for i in range(9999) %}{{ d | tojson | length }}{% endfor %}".into(),
        "{% set k = 'k' * 999999 %}{% for i in range(9999) %}{% set x = {}[k] %}{% endfor %}".into(),
        "{% set k = 'k' * 999999 %}{% set d = {k: 1} %}{% for i in range(99999) %}{% set x = d[k] %}{% endfor %}".into(),
        "{% set ns = namespace(l=[]) %}{% for i in range(99) %}{% set ns.l = ns.l + [('a ' * 99999).split(' ')] %}{% endfor %}".into(),
        "{% for x in range(9999) if x < 9998 or raise_exception('no') %}{{ loop.length }}{% endfor %}".into(),
        "{% set ns = namespace() %}{% macro f() %}{{ ns.l.last }}{% endmacro %}{% for x in range(3) if f() or true %}{% set ns.l = loop %}{% endfor %}".into(),
        "{% set ns = namespace() %}{% macro f() %}{% set ns.c = caller %}{% endmacro %}{% call f() %}a{% endcall %}{{ ns.c() }}".into(),
        "{% macro f(n) %}{% call f(n + 1) %}{{ caller() }}{% endcall %}{% endmacro %}{% call f(0) %}a{% endcall %}".into(),
        "{{ ('a' * 79000000).split('a') | length }}".into(),
        "{{ (' a' * 30000000).split() | length }}{{ (' a' * 30000000).rsplit() | length }}".into(),
        "{{ ('\\n' * 79000000).splitlines() | length }}".into(),
        "{{ 9 ** 999999999 }}".into(),
        "{{ 'a' | indent(99999999) }}".into(),
        "{{ '\\n' * 99999 | indent(99999) }}".into(),
        "{{ [[1]] | tojson(indent=99999999) }}".into(),
        "{{ 'a'.center(99999999) }}".into(),
        "{{ '%99999999d' % 1 }}".into(),
        "{{ ('a' * 9999).replace('', 'b' * 99999) }}".into(),
        "{{ range(99999) | join('x' * 99999) }}".into(),
        "{{ range(9) | batch(999999999, 'x') | list }}".into(),
        "{{ range(9) | slice(999999999) | list }}".into(),
        format!("{{% for i in range(99999) %}}{}{{% endfor %}}", "b".repeat(9999)),
        "a".repeat(2_000_000),
    ];
    for (open, close) in [("(", ")"), ("[", "]"), ("not ", ""), ("-", ""), ("{1:", "}"), ("f(", ")"), ("a[", "]")] {
        sources.push(format!("{{{{ {}1{} }}}}", open.repeat(50_000), close.repeat(50_000)));
    }
    for chain in ["+1", "|upper", ".a", "[0]", "()", " if 1 else 1", " and 1", "<1", " is none"] {
        sources.push(format!("{{{{ a{} }}}}", chain.repeat(50_000)));
    }
    sources.push(format!("{}{}", "{% if 1 %}".repeat(20_000), "{% endif %}".repeat(20_000)));
    sources.push("{".repeat(900_000));
    sources.push("{% raw %}".to_owned() + &"{% ".repeat(300_000));
    for source in sources {
        let (start, shown) = (Instant::now(), source.chars().take(150).collect::<String>());
        let rendered = std::thread::Builder::new().stack_size(2 << 20).spawn(move || render(&source, &json!({})));
        // The text of braces alone is a text.
        let rendered = rendered.unwrap().join().unwrap();
        assert!(rendered.is_err() || shown.starts_with("{{{"), "{shown}");
        assert!(start.elapsed() < Duration::from_secs(20), "{shown}: {:?}", start.elapsed());
    }
}

#[test]
fn limits_grow_with_the_conversation() {
    // What an accumulated text takes goes with the square of the messages.
    let text = "word ".repeat(500);
    let messages = vec![json!({"role": "user", "content": text}); 200];
    let source =
        "{% set ns = namespace(a='') %}{% for m in messages %}{% set ns.a = ns.a ~ m.content %}{% endfor %}{{ ns.a }}";
    assert_eq!(render(source, &json!({"messages": messages})).unwrap().len(), 200 * text.len());
}

#[test]
fn what_a_template_reads_is_in_its_tree_and_not_in_its_words() {
    let reads = |source: &str| Template::parse(source).unwrap().reads();
    let of = |words: &str| words.split_whitespace().map(str::to_owned).collect();
    let found = reads(
        "{# thinking #}thinking{{ 'tools' }}{{ m.role ~ 'name' }}{% if 'tool_calls' in m and x == 'system' %}\
         {{ m['weight'] }}{{ m.get('date', y) }}{{ l | map(attribute='function.id') | join }}{% endif %}\
         {% for k in ['loss'] %}{{ m[k] }}{% endfor %}",
    );
    assert_eq!(found.variables, of("m x y l"));
    assert_eq!(found.keys, of("role tool_calls weight get date function id loss"));
    // What the template sets itself, wherever it is set in any case, is not what a row brings.
    let own = reads(
        "{% set a = 1 %}{{ a }}{% if b %}{% set c = 1 %}{{ c }}{% endif %}{{ c }}{% for d, e in f %}{{ d }}{{ e }}{{ loop }}\
         {% set g = 1 %}{% endfor %}{{ d }}{{ g }}{% with h = i %}{{ h }}{% endwith %}{% macro j(k) %}{{ k }}{{ a }}{{ l }}\
         {% endmacro %}{{ j(1) }}{% if o is not defined %}{% set o = 1 %}{% endif %}{% set p %}{{ p }}{% endset %}{{ p }}\
         {% set ns.q = ns.q %}",
    );
    assert_eq!(own.variables, of("b c f d g i l o p ns"));
    // What a loop goes through may be keys, and is compared as such.
    let looped = reads(
        "{% for k, v in m.items() %}{% if k == 'why' or 'who' != k or k in ['at'] or v == 'no' %}{% endif %}{% endfor %}",
    );
    assert_eq!(looped.keys, of("items why who at"));
    // Wherever an expression may stand.
    let everywhere = "{% set a = b.c %}{% set d | f(e.g) %}{{ h.i }}{% endset %}{% with j = k.l %}{% endwith %}\
        {% macro m(n=o.p) %}{{ q.r }}{% endmacro %}{% call m(s.t) %}{{ u.v }}{% endcall %}{% filter f(w.x) %}{% endfilter %}\
        {% for y in z.aa if bb.cc %}{{ dd.ee }}{% else %}{{ ff.gg }}{% endfor %}{% if hh.ii %}{% elif jj.kk %}{% else %}\
        {{ ll.mm }}{% endif %}{% generation %}{{ nn.oo }}{% endgeneration %}{{ [pp.qq, {rr.ss: tt.uu}][vv.ww:] is f(xx.yy) }}\
        {{ -a1.a2 if not b1.b2 else c1.c2 or d1.d2 }}";
    let keys = "c g i l p r t v x aa cc ee gg ii kk mm oo qq ss uu ww yy a2 b2 c2 d2";
    assert_eq!(reads(everywhere).keys, of(keys));
}
