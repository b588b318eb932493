//! A secret in ARG or ENV, by the name of the variable. Names of ARG count as written, names of ENV as expanded; what stands
//! above the first FROM is not looked at, all as in BuildKit.

use crate::ast::Operation;
use crate::lint::report::Report;
use crate::lint::scene::{Scene, Step};
use crate::lint::{Level, Rule};
use crate::source::Span;

pub(super) const RULE: Rule = Rule {
    name: "SecretsUsedInArgOrEnv",
    summary: "secrets are mounted, not put into ARG or ENV",
    level: Level::On,
    page: "secrets-used-in-arg-or-env.md",
    check,
};

/// Words of a name that tell of a secret.
const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words of a name that tell that it is none.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    for step in scene.stages.iter().flat_map(|stage| &stage.steps) {
        match &step.instruction.operation {
            Operation::Arg(arg) => {
                for declaration in &arg.declarations {
                    look_at("ARG", &declaration.name.text, declaration.name.span, step, report);
                }
            }
            Operation::Env(_) => {
                for key in step.words.iter().step_by(2) {
                    look_at("ENV", &key.expansion.text, key.written.span, step, report);
                }
            }
            _ => {}
        }
    }
}

fn look_at(instruction: &str, name: &str, span: Span, step: &Step<'_>, report: &mut Report<'_>) {
    if !is_secret(name) {
        return;
    }
    let found = report
        .warning(span, format!("`{name}` looks like a secret, and {instruction} does not keep it"))
        .with_help("everyone who has the image can read it: use `RUN --mount=type=secret` instead");
    report.push(step, found);
}

fn is_secret(name: &str) -> bool {
    let has = |words: &[&str]| name.split('_').any(|part| words.iter().any(|w| part.eq_ignore_ascii_case(w)));
    has(&SECRET) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::is_secret;
    use crate::lint::tests::{World, check};

    #[test]
    fn a_name_tells_of_a_secret_by_one_of_its_words() {
        let secret = [
            "KEY",
            "git_key",
            "DATABASE_PASSWORD",
            "secret_MESSAGE",
            "AUTH",
            "_token_",
            "API_KEY_2",
            "Credentials",
        ];
        let harmless = [
            "",
            "_",
            "API-KEY",
            "KEYS",
            "MONKEY",
            "PASSWORDS",
            "PUBLIC_KEY",
            "token_FILE",
            "AUTH_MODULE_VERSION",
            "APIKEY2",
        ];
        assert!(secret.into_iter().all(is_secret));
        assert!(!harmless.into_iter().any(is_secret));
    }

    #[test]
    fn names_of_arg_count_as_written_and_those_of_env_as_expanded() {
        let help = "(everyone who has the image can read it: use `RUN --mount=type=secret` instead)";
        let found = |line: usize, written: &str, name: &str, instruction: &str| {
            format!(
                "{line} {written} | `{name}` looks like a secret, and {instruction} does not keep it {help}"
            )
        };
        let cases: &[(&str, &[String])] = &[
            ("ARG TOKEN=1\nFROM a\nLABEL key=1\nRUN KEY=1 x", &[]),
            (
                "FROM a\nARG A B TOKEN C_KEY=1",
                &[found(2, "TOKEN", "TOKEN", "ARG"), found(2, "C_KEY", "C_KEY", "ARG")],
            ),
            ("FROM a\nENV A=1 \\\n TOKEN=2", &[found(3, "TOKEN", "TOKEN", "ENV")]),
            ("FROM a\nENV TOKEN 2", &[found(2, "TOKEN", "TOKEN", "ENV")]),
            ("FROM a\nENV X=KEY\nENV A_$X=1 KEY$X=1", &[found(3, "A_$X", "A_KEY", "ENV")]),
            ("FROM a\nARG X=KEY\nARG A_$X=1 $KEY=2 ${X}_KEY", &[found(3, "${X}_KEY", "${X}_KEY", "ARG")]),
            ("FROM a AS b\nONBUILD ENV KEY=1\nFROM b", &[found(3, "FROM b", "KEY", "ENV")]),
            ("FROM a\n# check=skip=SecretsUsedInArgOrEnv\nARG TOKEN", &[]),
        ];
        for (text, expected) in cases {
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check("SecretsUsedInArgOrEnv", &World::default(), &[(text, &expected)]);
        }
    }
}
