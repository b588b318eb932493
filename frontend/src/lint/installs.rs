//! Commands that install the dependencies which files of a project name: `npm ci`, `pip install -r`, `cargo build` and their
//! like. Told apart from commands that need the rest of the project, or that install what the command line names.

use std::ops::Range;

use super::shell::{self, Command};

/// A command that installs dependencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Install {
    /// The language, or whatever shares its dependencies.
    pub(crate) language: &'static str,
    /// The files that name them.
    pub(crate) manifests: &'static str,
    /// The command, as messages show it.
    pub(crate) shown: &'static str,
    /// Where it stands in the script.
    pub(crate) range: Range<usize>,
}

/// One way to install.
struct Pattern {
    /// The program and the words behind it.
    command: &'static [&'static str],
    /// What may stand behind, beside flags.
    operands: Operands,
    language: &'static str,
    manifests: &'static str,
    shown: &'static str,
}

enum Operands {
    /// Nothing: an operand would be a package to install.
    None,
    /// Whatever there is.
    Any,
    /// One of these flags stands there.
    Flag(&'static [&'static str]),
}

const fn pattern(
    shown: &'static str,
    command: &'static [&'static str],
    operands: Operands,
    (language, manifests): (&'static str, &'static str),
) -> Pattern {
    Pattern { command, operands, language, manifests, shown }
}

const NPM: (&str, &str) = ("node", "`package.json` and `package-lock.json`");
const YARN: (&str, &str) = ("node", "`package.json` and `yarn.lock`");
const PNPM: (&str, &str) = ("node", "`package.json` and `pnpm-lock.yaml`");
const BUN: (&str, &str) = ("node", "`package.json` and `bun.lock`");
const PIP: (&str, &str) = ("python", "the requirements file");
const PIPENV: (&str, &str) = ("python", "`Pipfile` and `Pipfile.lock`");
const POETRY: (&str, &str) = ("python", "`pyproject.toml` and `poetry.lock`");
const UV: (&str, &str) = ("python", "`pyproject.toml` and `uv.lock`");
const BUNDLE: (&str, &str) = ("ruby", "`Gemfile` and `Gemfile.lock`");
const COMPOSER: (&str, &str) = ("php", "`composer.json` and `composer.lock`");
const GO: (&str, &str) = ("go", "`go.mod` and `go.sum`");
const CARGO: (&str, &str) = ("rust", "`Cargo.toml` and `Cargo.lock`");
const REQUIREMENTS: &[&str] = &["-r", "--requirement", "--requirements"];

const PATTERNS: [Pattern; 23] = [
    pattern("npm ci", &["npm", "ci"], Operands::Any, NPM),
    pattern("npm ci", &["npm", "clean-install"], Operands::Any, NPM),
    pattern("npm install", &["npm", "install"], Operands::None, NPM),
    pattern("npm install", &["npm", "i"], Operands::None, NPM),
    pattern("yarn install", &["yarn", "install"], Operands::Any, YARN),
    pattern("yarn", &["yarn"], Operands::None, YARN),
    pattern("pnpm install", &["pnpm", "install"], Operands::None, PNPM),
    pattern("pnpm install", &["pnpm", "i"], Operands::None, PNPM),
    pattern("bun install", &["bun", "install"], Operands::None, BUN),
    pattern("pip install -r", &["pip", "install"], Operands::Flag(REQUIREMENTS), PIP),
    pattern("pip install -r", &["pip3", "install"], Operands::Flag(REQUIREMENTS), PIP),
    pattern("uv pip install -r", &["uv", "pip", "install"], Operands::Flag(REQUIREMENTS), PIP),
    pattern("uv pip sync", &["uv", "pip", "sync"], Operands::Any, PIP),
    pattern("uv sync", &["uv", "sync"], Operands::None, UV),
    pattern("poetry install", &["poetry", "install"], Operands::None, POETRY),
    pattern("pipenv install", &["pipenv", "install"], Operands::None, PIPENV),
    pattern("pipenv sync", &["pipenv", "sync"], Operands::None, PIPENV),
    pattern("bundle install", &["bundle", "install"], Operands::Any, BUNDLE),
    pattern("composer install", &["composer", "install"], Operands::None, COMPOSER),
    pattern("go mod download", &["go", "mod", "download"], Operands::None, GO),
    pattern("cargo fetch", &["cargo", "fetch"], Operands::Any, CARGO),
    pattern("cargo build", &["cargo", "build"], Operands::Any, CARGO),
    // Dependencies only, from a recipe: what follows has them.
    pattern("cargo chef cook", &["cargo", "chef", "cook"], Operands::Any, CARGO),
];

/// Flags with which dependencies are not fetched, or not into the project.
const OTHERWISE: [&str; 6] = ["-g", "--global", "--location=global", "--offline", "--help", "--version"];

/// Flags that take the word behind them.
const FLAGS_WITH_VALUE: [&str; 18] = [
    "--prefix",
    "-C",
    "--cwd",
    "--dir",
    "--directory",
    "--project",
    "--group",
    "--extra",
    "--with",
    "--without",
    "--only",
    "--registry",
    "--network-timeout",
    "--cache",
    "--omit",
    "--filter",
    "--python",
    "-d",
];

/// Returns the installs of a script, in order.
pub(crate) fn installs(script: &str) -> Vec<Install> {
    shell::read(script).commands().filter_map(install).collect()
}

fn install(command: &Command) -> Option<Install> {
    let (mut program, words) = command.program()?;
    let is_redirection = |word: &str| word.contains(['<', '>']);
    let mut words: Vec<&str> =
        words.iter().map(String::as_str).filter(|word| !is_redirection(word)).collect();
    let run_by = match (program, words.as_slice()) {
        ("python" | "python3", ["-m", module, ..]) => Some((*module, 2)),
        ("corepack", [other, ..]) => Some((*other, 1)),
        _ => None,
    };
    if let Some((name, count)) = run_by {
        program = name;
        words.drain(..count);
    }
    if words.iter().any(|word| OTHERWISE.contains(word)) {
        return None;
    }
    let found = PATTERNS.iter().find(|pattern| pattern.fits(program, &words))?;
    let Pattern { language, manifests, shown, .. } = *found;
    Some(Install { language, manifests, shown, range: command.range.clone() })
}

impl Pattern {
    fn fits(&self, program: &str, words: &[&str]) -> bool {
        let Some((name, verbs)) = self.command.split_first() else { return false };
        let operands: Vec<&str> = operands(words).collect();
        if *name != program || !operands.starts_with(verbs) {
            return false;
        }
        match self.operands {
            Operands::None => operands.len() == verbs.len(),
            Operands::Any => true,
            Operands::Flag(flags) => words.iter().any(|word| flags.iter().any(|flag| is_flag(word, flag))),
        }
    }
}

/// `-r`, `-rfile`, `--requirement`, `--requirement=file`
fn is_flag(word: &str, flag: &str) -> bool {
    word.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('=') || flag.len() == 2)
}

/// Returns the words that are no flags and no values of flags.
fn operands<'w>(words: &'w [&'w str]) -> impl Iterator<Item = &'w str> {
    words.iter().enumerate().filter_map(move |(index, word)| {
        let is_value = index > 0 && FLAGS_WITH_VALUE.contains(&words[index - 1]);
        (!word.starts_with(['-', '+']) && !is_value).then_some(*word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installs_of_what_files_name_are_told_from_other_commands() {
        let cases: &[(&str, &[&str])] = &[
            ("npm ci", &["npm ci"]),
            ("npm ci --omit=dev --ignore-scripts && npm run build", &["npm ci"]),
            ("cd web && npm --prefix a install --omit dev", &["npm install"]),
            ("npm install left-pad; npm install -g yarn; npm run ci", &[]),
            ("yarn --frozen-lockfile; yarn build; yarn --version; yarn add x", &["yarn"]),
            ("corepack enable && corepack pnpm i --frozen-lockfile", &["pnpm install"]),
            ("pip install -r a.txt -r b.txt", &["pip install -r"]),
            ("python3 -m pip install --no-cache-dir --requirement=a.txt", &["pip install -r"]),
            ("pip install . ; pip install flask; pip install -e .; python -m pip", &[]),
            (
                "uv sync --frozen --no-dev; uv pip install -ra.txt; uv run x",
                &["uv sync", "uv pip install -r"],
            ),
            ("if x; then poetry install --no-root --only main; fi", &["poetry install"]),
            ("bundle config set x y; bundle install -j4", &["bundle install"]),
            ("composer install --no-dev; composer require x", &["composer install"]),
            ("GOFLAGS=-mod=mod go mod download -x; go build ./...", &["go mod download"]),
            ("cargo +nightly build --release; cargo build --offline; cargo test", &["cargo build"]),
            ("echo 'npm ci' > x; # npm ci", &[]),
            ("npm", &[]),
        ];
        for (script, expected) in cases {
            let found: Vec<_> = installs(script).iter().map(|install| install.shown).collect();
            assert_eq!(found, *expected, "{script}");
        }
    }
}
