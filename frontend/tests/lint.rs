//! What holds for every file that is linted: no panic, places inside of it, findings in order; and no more work than a file
//! is long, however it is made.

use std::collections::{BTreeMap, BTreeSet};

use kiln_frontend::dockerignore::Matcher;
use kiln_frontend::lint::{ImageFacts, LintRequest, Linted, PlatformWords, Reach, Vocabulary, lint};
use kiln_frontend::parse;
use kiln_frontend::source::Source;
use kiln_frontend::variables::VariableList;
use proptest::prelude::*;

const PIECES: [&str; 58] = [
    "FROM a\n",
    "FROM scratch AS b\n",
    "FROM --platform=$TARGETPLATFORM b AS c\n",
    "FROM --platform=linux/arm64 $X AS Scratch\n",
    "from ${x:-b} as C\n",
    "ARG X=",
    "ARG x",
    "ENV X=1 Y=",
    "ENV key value ",
    "LABEL a=",
    "WORKDIR ",
    "COPY . ",
    "COPY --from=b ",
    "ADD https://x ",
    "COPY <<E <<'F' /x\n",
    "EXPOSE 80/TCP 1:2 ",
    "RUN ",
    "RUN <<E\n",
    "RUN --mount=type=cache,target=",
    "CMD ",
    "ENTRYPOINT [\"a\"]\n",
    "SHELL [\"/bin/bash\", \"-c\"]\n",
    "ONBUILD ",
    "ONBUILD COPY . .\n",
    "ONBUILD RUN npm ci\n",
    "MAINTAINER me\n",
    "HEALTHCHECK NONE\n",
    "# check=skip=",
    "# check=error=true\n",
    "#check=experimental=all;skip=UndefinedVar ;x\n",
    "# escape=`\n",
    "# b is\n",
    "npm ci",
    "pip install -r x",
    "; ",
    " && ",
    " || ",
    "\\\n",
    "`\n",
    "\n",
    "\r\n",
    "E\n",
    "F\n",
    "set -e\n",
    "$(case x in y)",
    "${X",
    "$X",
    "${é}",
    "}",
    "'",
    "\"",
    "(",
    ")",
    " /a ",
    "é",
    "if ",
    " <<E ",
    "\u{a0}",
];

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![9 => (0..PIECES.len()).prop_map(|index| PIECES[index].to_owned()), 1 => ".{0,4}"];
    proptest::collection::vec(piece, 0..32).prop_map(|pieces| pieces.concat())
}

fn platform(text: &str) -> Option<PlatformWords> {
    let (os, architecture) = text.split_once('/')?;
    Some(PlatformWords { os: os.to_owned(), architecture: architecture.to_owned(), text: text.to_owned() })
}

fn linted(source: &Source) -> Linted {
    let env = vec![("X".to_owned(), "1".to_owned())];
    let onbuild = vec!["COPY . .".to_owned(), "WORKDIR $Y".to_owned(), "ONBUILD".to_owned()];
    let facts = ImageFacts { env, onbuild, platform: platform("linux/s390x"), ..ImageFacts::default() };
    let mut automatic = VariableList::default();
    automatic.set("TARGETPLATFORM", "linux/amd64");
    lint(&LintRequest {
        source,
        file: &parse(source).file,
        config: None,
        automatic_arguments: &automatic,
        build_args: &BTreeMap::from([("X".to_owned(), "y".to_owned())]),
        reach: Reach::All,
        target_platform: platform("linux/amd64").as_ref(),
        ignore: Matcher::parse("a\n*/é\n".as_bytes()).ok().as_ref(),
        images: &BTreeMap::from([("a".to_owned(), facts)]),
        contexts: &BTreeSet::from(["c".to_owned()]),
        vocabulary: Vocabulary { is_image_name: |name| !name.is_empty(), platform },
    })
}

fn check_places(source: &Source, linted: &Linted) {
    let diagnostics = linted.findings.iter().map(|finding| &finding.diagnostic);
    for diagnostic in diagnostics.chain(&linted.remarks) {
        let labels = diagnostic.labels.iter().map(|label| label.span);
        for span in labels.chain(diagnostic.fix.iter().map(|edit| edit.span)) {
            assert!(source.text().get(span.range()).is_some(), "{diagnostic:?} in {:?}", source.text());
        }
    }
    let places: Vec<_> = linted.findings.iter().map(|finding| finding.diagnostic.primary()).collect();
    assert!(places.is_sorted(), "{places:?} in {:?}", source.text());
}

proptest! {
    #[test]
    fn any_text_is_linted_without_panic_and_with_places_in_bounds(text in text()) {
        let source = Source::new("Dockerfile", text);
        check_places(&source, &linted(&source));
    }

    #[test]
    fn any_bytes_are_linted_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let source = Source::from_bytes("Dockerfile", &bytes);
        check_places(&source, &linted(&source));
    }
}

/// Each would take minutes if the work grew with the square of the file.
#[test]
fn hostile_files_cost_no_more_than_their_size() {
    let many = |piece: &str, count: usize| piece.repeat(count);
    let numbered = |make: fn(usize) -> String, count: usize| (0..count).map(make).collect::<String>();
    let files = [
        "FROM a\n".to_owned() + &numbered(|index| format!("ENV V{index}=$W{index}\n"), 10_000),
        "FROM a\nENV ".to_owned() + &numbered(|index| format!("V{index}=$W{index} "), 10_000),
        "FROM a\nENV X=".to_owned() + &numbered(|index| format!("$W{index}_"), 10_000),
        "FROM a\n".to_owned() + &many("# check=skip=A\n", 10_000) + "ENV " + &many("V=$W ", 10_000),
        "FROM a AS s\n".to_owned()
            + &numbered(|index| format!("ENV V{index}=1\n"), 3_000)
            + &many("FROM s AS s\nARG V1=2\n", 3_000),
        "FROM a AS s\n".to_owned() + &many("ONBUILD ENV X=$Y\n", 3_000) + &many("FROM s\n", 3_000),
        "FROM a\nENV A=0123456789\n".to_owned() + &many("ENV A=$A$A\n", 19) + &many("ENV B=$A C=$A\n", 2_000),
        "FROM a\nEXPOSE ".to_owned() + &many("80/TCP 1:2 ", 5_000),
        "FROM a\nRUN ".to_owned() + &many("make; ", 20_000),
        "FROM a\nCOPY . .\nRUN ".to_owned() + &many("npm ci; cargo build; ", 10_000),
        "FROM a\nRUN ".to_owned() + &many("make; \\\n# x\n", 10_000) + "make",
        "FROM a\nCOPY ".to_owned() + &many("a/", 50_000) + " .",
        "FROM a\nCOPY ".to_owned() + &many("a ", 50_000) + " .",
        many("FROM a\nCOPY . .\nRUN npm ci\nCMD a\n", 3_000),
        many("FROM a\n", 10_000) + &many("ARG X=1\n", 1_000),
    ];
    for text in files {
        let source = Source::new("Dockerfile", text);
        let found = linted(&source);
        check_places(&source, &found);
    }
}
