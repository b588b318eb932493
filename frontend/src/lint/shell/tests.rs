use super::*;

/// Shows statements as `a b & c` for commands, with `{}` around what is compound, `!` and `&` behind.
fn shown(text: &str) -> Vec<String> {
    let show = |statement: &Statement| {
        let commands: Vec<String> =
            statement.commands.iter().map(|command| command.words.join(" ")).collect();
        let mut line = commands.join(" / ");
        if statement.is_compound {
            line = format!("{{{line}}}");
        }
        line.push_str(if statement.has_alternative { " !" } else { "" });
        line + if statement.is_background { " &" } else { "" }
    };
    read(text).statements.iter().map(show).collect()
}

#[test]
fn scripts_are_cut_where_a_shell_cuts_them() {
    let cases: &[(&str, &[&str])] = &[
        ("a b; c\nd", &["a b", "c", "d"]),
        ("a && b | c; d", &["a / b / c", "d"]),
        ("a || b; ! c", &["a / b !", "c !"]),
        ("a & b", &["a &", "b"]),
        ("a 2>&1 >&2 &>x; b", &["a 2>&1 >&2 >x", "b"]),
        ("a 'x; y' \"z; $(u; v)\" `p; q`", &["a x; y z; $(u; v) p; q"]),
        ("a $(case $x in y) z;; (q) r; esac); f", &["a $(case $x in y) z;; (q) r; esac)", "f"]),
        ("a $(b; c) ${d;e}; f", &["a $(b; c) ${d;e}", "f"]),
        ("for x in 1 2; do a; b; done; c", &["{x in 1 2 / a / b}", "c"]),
        ("if a; then b; else c; fi\nd", &["{a / b / c}", "d"]),
        ("case $x in a) b ;; c|d) e;; esac; f", &["{$x in a / b / c / d / e}", "f"]),
        ("(a; b); { c; d; }; e", &["{a / b}", "{c / d}", "e"]),
        ("f() { a; b; }; c", &["{a / b}", "c"]),
        ("function f { a; b; }; c", &["{a / b}", "c"]),
        ("a # b; c\nd", &["a", "d"]),
        ("a#b; c", &["a#b", "c"]),
        ("a <<E >x; b\nin; side\nE\nc", &["a <<E >x", "b", "c"]),
        ("a <<-'E'\n\tin\n\tE\nc", &["a <<-E", "c"]),
        ("a <<<x; b", &["a <<<x", "b"]),
        ("a \\\n b; c\\;d", &["a b", "c;d"]),
        ("a &&\n b", &["a / b"]),
        ("'a", &["a"]),
        ("\"a $(b", &["a $(b"]),
        (") ; } done fi; x", &["x"]),
        ("; ;;\n&", &[]),
        ("", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(shown(text), *expected, "{text}");
    }
}

#[test]
fn a_program_is_found_behind_assignments_and_wrappers() {
    let cases = [
        ("X=1 sudo Y=2 /usr/bin/a b", Some(("a", 1))),
        ("x=1", None),
        ("a=b=c d", Some(("d", 0))),
        ("./a=b", Some(("a=b", 0))),
    ];
    for (text, expected) in cases {
        let script = read(text);
        let program = script.commands().next().unwrap().program();
        assert_eq!(program.map(|(name, words)| (name, words.len())), expected, "{text}");
    }
}

#[test]
fn a_hostile_script_costs_no_more_than_its_size() {
    for piece in ["$(", "\"$(", "`", "(", "a <<E;", "${\"", "if ", "'", "\\", "<(", "a&&\n"] {
        let text = piece.repeat(200_000 / piece.len());
        read(&text);
    }
}
