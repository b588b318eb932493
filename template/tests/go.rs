//! Templates give what they give in Go, and hostile ones end.
#![expect(clippy::unwrap_used, reason = "a test ends where its surroundings fail")]

use kiln_template::{Functions, MissingKey, Template, Value};
use proptest::prelude::*;

const CASES: &str = include_str!("../testdata/go.txt");
const DATA: &str = include_str!("../testdata/data.json");

fn data() -> Value {
    Value::from_json(&serde_json::from_str(DATA).unwrap())
}

/// Returns the text after an equals sign and as JSON, or the error after an exclamation mark.
fn rendered(template: &str, missing_key: MissingKey) -> String {
    let functions = Functions::default();
    let template = match Template::parse("", template, &functions) {
        Ok(template) => template,
        Err(error) => return format!("! {error}"),
    };
    match template.execute(&data(), &functions, missing_key) {
        Ok(text) => format!("= {}", serde_json::to_string(&text).unwrap()),
        Err(error) => format!("! {error}"),
    }
}

#[test]
fn templates_give_what_they_give_in_go() {
    let lines: Vec<&str> = CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let wrong = lines.chunks(2).filter_map(|pair| {
        let [template, expected] = pair else { panic!("{pair:?}") };
        let actual = rendered(template, MissingKey::IsError);
        (actual != *expected).then(|| format!("{template}\n  Go:   {expected}\n  here: {actual}\n"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join(""));
    assert!(lines.len() / 2 > 250, "{}", lines.len());
}

/// Go speaks of its own types here, or says less.
#[test]
fn errors_say_what_a_value_is_where_go_has_only_an_interface() {
    for (template, expected) in [
        (
            "{{.x.text.foo}}",
            r#"! template: :1:4: executing "" at <.x.text.foo>: can't evaluate field foo in type string"#,
        ),
        (
            "{{index .x.list 3}}",
            r#"! template: :1:2: executing "" at <index .x.list 3>: error calling index: index out of range: 3"#,
        ),
        (
            "{{len nil}}",
            r#"! template: :1:2: executing "" at <len nil>: error calling len: len of nil pointer"#,
        ),
        (
            "{{eq .x.list .x.list}}",
            r#"! template: :1:2: executing "" at <eq .x.list .x.list>: error calling eq: non-comparable type []string"#,
        ),
        (
            "{{printf 1}}",
            r#"! template: :1:9: executing "" at <1>: wrong type for value; expected string; got int"#,
        ),
        ("{{1.2.3}}", r#"! template: :1: bad number syntax: "1.2.3""#),
        ("{{9223372036854775808}}", r#"! template: :1: bad number syntax: "9223372036854775808""#),
    ] {
        assert_eq!(rendered(template, MissingKey::IsError), expected);
    }
}

#[test]
fn what_is_missing_is_an_error_or_has_no_value() {
    for template in ["{{.x.nope}}", "{{.x.nope.deeper}}", "{{$a := .x.nope}}{{$a}}"] {
        assert_eq!(rendered(template, MissingKey::IsMissing), "= \"<no value>\"", "{template}");
    }
    let expected = r#"! template: :1:4: executing "" at <.x.nope>: map has no entry for key "nope""#;
    assert_eq!(rendered("{{.x.nope}}", MissingKey::IsError), expected);
}

#[test]
fn errors_have_the_line_of_several() {
    for (template, expected) in [
        (
            "a\n{{.x.text.y}}",
            "! template: :2:4: executing \"\" at <.x.text.y>: can't evaluate field y in type string",
        ),
        ("a\n\n{{foo}}", "! template: :3: function \"foo\" not defined"),
        ("{{.x\n", "! template: :2: unclosed action started at :1"),
        ("{{if .x}}\n{{(1\n}}", "! template: :3: unclosed left paren in action started at :2"),
    ] {
        assert_eq!(rendered(template, MissingKey::IsError), expected, "{template}");
    }
}

#[test]
fn hostile_templates_end_in_an_error() {
    let many = |text: &str, count: usize| text.repeat(count);
    let doubled = format!("{{{{$a := \"0123456789\"}}}}{}", many("{{$a = print $a $a}}", 60));
    let tree: String = (0..60)
        .map(|level| {
            format!(
                "{{{{define \"t{level}\"}}}}{}{{{{end}}}}",
                many(&format!("{{{{template \"t{}\"}}}}", level + 1), 2)
            )
        })
        .collect();
    let deep_parentheses = format!("{{{{{}1{}}}}}", many("(", 100_000), many(")", 100_000));
    let deep_blocks = format!("{}{}", many("{{if 1}}", 100_000), many("{{end}}", 100_000));
    let else_if = format!("{{{{if 0}}}}{}{{{{end}}}}", many("{{else if 0}}", 100_000));
    let definitions = many("{{define \"a\"}}", 100_000);
    for (template, says) in [
        ("{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}".to_owned(), "exceeded maximum template depth"),
        ("{{range 1000000000000}}x{{end}}".to_owned(), "too long"),
        ("{{range 100000}}{{range 100000}}{{end}}{{end}}".to_owned(), "too long"),
        ("{{printf \"%1000000d%1000000d\" 1 2 | printf \"%s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s\" | printf \"%s%[1]s%[1]s%[1]s%[1]s%[1]s\"}}".to_owned(), "too long"),
        (doubled, "too long"),
        (tree + "{{define \"t60\"}}x{{end}}{{template \"t0\"}}", "too long"),
        (deep_parentheses, "stand in each other"),
        (deep_blocks, "stand in each other"),
        (else_if, "stand in each other"),
        (definitions, "unexpected <define> in command"),
        (format!("{{{{range $a := .x.list}}}}{}{{{{end}}}}", many("{{$a}}", 10_000)), "= "),
    ] {
        let text = rendered(&template, MissingKey::IsMissing);
        assert!(text.contains(says), "{:.80}: {:.200}", template, text);
    }
}

#[test]
fn as_deep_as_a_template_may_be_is_no_danger_to_the_stack() {
    let parentheses = format!("{{{{{}1{}}}}}", "(".repeat(60), ")".repeat(60));
    let blocks = format!("{}x{}", "{{with 1}}".repeat(60), "{{end}}".repeat(60));
    let inner = format!("{}{{{{template \"a\"}}}}{}", "{{if 1}}".repeat(60), "{{end}}".repeat(60));
    assert_eq!(rendered(&parentheses, MissingKey::IsMissing), "= \"1\"");
    assert_eq!(rendered(&blocks, MissingKey::IsMissing), "= \"x\"");
    let recursive = format!("{{{{define \"a\"}}}}{inner}{{{{end}}}}{{{{template \"a\"}}}}");
    assert!(rendered(&recursive, MissingKey::IsMissing).contains("exceeded maximum template depth"));
}

proptest! {
    #[test]
    fn no_text_is_too_odd_to_be_read(pieces in proptest::collection::vec(
        prop_oneof![
            Just("{{"), Just("}}"), Just("{{- "), Just(" -}}"), Just("if "), Just("range "), Just("with "), Just("end"), Just("else "),
            Just("define "), Just("block "), Just("template "), Just("\"a\""), Just("$a"), Just(" := "), Just(", "), Just("."), Just(".x"),
            Just(".list"), Just("("), Just(")"), Just("|"), Just("printf "), Just("\"%*[2]d%\""), Just("1"), Just("-1.5e3"), Just("'a'"),
            Just(" "), Just("\n"), Just("é"), Just("/*"), Just("*/"), Just("break"), Just("slice "), Just("index "), Just("nil"),
        ],
        0..40,
    )) {
        let text = rendered(&pieces.concat(), MissingKey::IsMissing);
        prop_assert!(text.starts_with("= ") || text.starts_with("! template: :"), "{}", text);
    }
}
