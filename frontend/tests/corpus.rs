//! Dockerfiles and the trees they give, as text. `SNAPSHOTS=overwrite` writes the trees anew.

use kiln_frontend::ast::{
    Command, FromInstruction, HealthcheckInstruction, Instruction, Operation, Pair, Transfer, Word,
};
use kiln_frontend::source::{Source, Span};
use kiln_frontend::{Parsed, parse};

macro_rules! corpus {
    ($($name:ident: $dockerfile:literal gives $tree:literal,)*) => {
        $(
            #[test]
            fn $name() {
                let source = Source::from_bytes("Dockerfile", include_bytes!($dockerfile));
                let tree = Printer { source: &source, text: String::new() }.print(&parse(&source));
                snapbox::assert_data_eq!(tree, snapbox::file![$tree].raw());
            }
        )*
    };
}

corpus! {
    every_instruction_becomes_a_node:
        "../testdata/ok/everything/Dockerfile" gives "../testdata/ok/everything/tree.txt",
    continuations_join_lines:
        "../testdata/ok/continuations/Dockerfile" gives "../testdata/ok/continuations/tree.txt",
    a_byte_order_mark_and_crlf_change_nothing:
        "../testdata/ok/byte-order-mark-and-crlf/Dockerfile" gives "../testdata/ok/byte-order-mark-and-crlf/tree.txt",
    heredocs_stand_below_their_instruction:
        "../testdata/ok/heredocs/Dockerfile" gives "../testdata/ok/heredocs/tree.txt",
    what_surprises_is_read_as_buildkit_reads_it:
        "../testdata/ok/surprises/Dockerfile" gives "../testdata/ok/surprises/tree.txt",
    words_are_cut_as_the_instruction_says:
        "../testdata/ok/words-and-forms/Dockerfile" gives "../testdata/ok/words-and-forms/tree.txt",
}

/// Writes a tree so that a person can check it: a line a node, `text@line:column-line:column` a word.
struct Printer<'a> {
    source: &'a Source,
    text: String,
}

impl Printer<'_> {
    fn print(mut self, parsed: &Parsed) -> String {
        let file = &parsed.file;
        self.line(&format!("escape {:?}", file.escape));
        for directive in &file.directives {
            let value = self.word(&directive.value);
            self.line(&format!("directive {} {value}", directive.name));
        }
        for argument in &file.global_arguments {
            let operation = Operation::Arg(argument.operation.clone());
            self.instruction(argument, &operation);
        }
        for stage in &file.stages {
            self.head(&stage.from);
            self.from(&stage.from.operation);
            for instruction in &stage.instructions {
                self.instruction(instruction, &instruction.operation);
            }
        }
        for gap in &file.gaps {
            let blanks: Vec<String> = gap.blanks.iter().map(|blank| self.place(*blank)).collect();
            let last = self.place(gap.last);
            self.line(&format!("gap {} last {last}", blanks.join(" ")));
        }
        for diagnostic in &parsed.diagnostics {
            let place = self.place(diagnostic.primary().unwrap_or_default());
            self.line(&format!(
                "{:?} {} {place}: {}",
                diagnostic.severity, diagnostic.code, diagnostic.message
            ));
        }
        self.text
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn place(&self, span: Span) -> String {
        let (start, end) = (self.source.position(span.start), self.source.position(span.end));
        format!("{}:{}-{}:{}", start.line, start.column, end.line, end.column)
    }

    fn word(&self, word: &Word) -> String {
        format!("{:?}@{}", word.text, self.place(word.span))
    }

    fn words(&self, words: &[Word]) -> String {
        words.iter().map(|word| self.word(word)).collect::<Vec<_>>().join(" ")
    }

    fn head<T>(&mut self, instruction: &Instruction<T>) {
        let mut line = format!("{} {}", instruction.keyword.text, self.place(instruction.span));
        for comment in &instruction.comments {
            line += &format!(" #{:?}", comment.text);
        }
        for flag in &instruction.flags {
            let value = flag.value.as_ref().map(|value| self.word(value)).unwrap_or_default();
            line += &format!(" --{}={value}", flag.name.text);
        }
        self.line(&line);
    }

    fn from(&mut self, from: &FromInstruction) {
        let name = from.name.as_ref().map(|name| format!(" as {} {}", self.word(&name.written), name.lower));
        let line = format!("  base {}{}", self.word(&from.base), name.unwrap_or_default());
        self.line(&line);
    }

    fn instruction<T>(&mut self, instruction: &Instruction<T>, operation: &Operation) {
        self.head(instruction);
        for heredoc in &instruction.heredocs {
            let place = self.place(heredoc.span);
            let body = heredoc.body();
            let kind = (heredoc.descriptor, heredoc.is_expanded, heredoc.strips_tabs);
            self.line(&format!("  heredoc {:?} {kind:?} {body:?}@{place}", heredoc.name));
        }
        let operation = self.operation(operation);
        self.line(&format!("  {operation}"));
    }

    fn operation(&self, operation: &Operation) -> String {
        match operation {
            Operation::Run(run) => {
                let mounts: Vec<_> = run
                    .mounts
                    .iter()
                    .map(|mount| (&mount.value.text, mount.from.as_ref().map(|from| &from.text)))
                    .collect();
                let rest = (run.network.as_ref().map(|n| n.value), run.security.as_ref().map(|s| s.value));
                let devices: Vec<_> = run.devices.iter().map(|d| (&d.name, d.is_required)).collect();
                format!("{} {mounts:?} {rest:?} {devices:?}", self.command(&run.command))
            }
            Operation::Copy(copy) => {
                let from = copy.from.as_ref().map(|from| self.word(from));
                format!("{} from {from:?} parents {}", self.transfer(&copy.transfer), copy.keeps_parents)
            }
            Operation::Add(add) => {
                let checksum = add.checksum.as_ref().map(|checksum| self.word(checksum));
                let rest = (add.keep_git_directory, add.unpack, checksum);
                format!("{} {rest:?}", self.transfer(&add.transfer))
            }
            Operation::Env(pairs) | Operation::Label(pairs) => self.pairs(pairs),
            Operation::Arg(arg) => {
                let pair = |(name, value): (&Word, Option<&Word>)| {
                    format!("{} = {}", self.word(name), value.map(|v| self.word(v)).unwrap_or_default())
                };
                let all = arg.declarations.iter().map(|d| pair((&d.name, d.default.as_ref())));
                all.collect::<Vec<_>>().join(", ")
            }
            Operation::Expose(words) | Operation::Volume(words) | Operation::Shell(words) => {
                self.words(words)
            }
            Operation::User(word)
            | Operation::Workdir(word)
            | Operation::StopSignal(word)
            | Operation::Maintainer(word) => self.word(word),
            Operation::Cmd(command) | Operation::Entrypoint(command) => self.command(command),
            Operation::Healthcheck(HealthcheckInstruction::None) => "none".to_owned(),
            Operation::Healthcheck(HealthcheckInstruction::Check(check)) => {
                let times = (check.interval, check.timeout, check.start_period, check.start_interval);
                format!("{} {times:?} {}", self.command(&check.command), check.retries)
            }
            Operation::Onbuild(onbuild) => format!("{:?}@{}", onbuild.trigger, self.place(onbuild.span)),
        }
    }

    fn command(&self, command: &Command) -> String {
        match command {
            Command::Shell(word) => format!("shell {}", self.word(word)),
            Command::Exec(words) => format!("exec {}", self.words(words)),
        }
    }

    fn transfer(&self, transfer: &Transfer) -> String {
        let files: Vec<_> = transfer.files.iter().map(|f| (&f.name, &f.content, f.is_expanded)).collect();
        let owner = (transfer.chown.as_ref().map(|w| &w.text), transfer.chmod.as_ref().map(|w| &w.text));
        format!(
            "{} files {files:?} to {} {owner:?} link {} excludes [{}]",
            self.words(&transfer.sources),
            self.word(&transfer.destination),
            transfer.is_link,
            self.words(&transfer.excludes)
        )
    }

    fn pairs(&self, pairs: &[Pair]) -> String {
        let pair = |pair: &Pair| {
            let sign = if pair.is_legacy { "␣" } else { "=" };
            format!("{} {sign} {}", self.word(&pair.key), self.word(&pair.value))
        };
        pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
    }
}
