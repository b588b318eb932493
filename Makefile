# make          this text
# make test     installs the Debian packages that tests need (as root or by sudo), then runs everything that CI runs
# make check    the quick part: format, lints, tidy, and the tests that need nothing installed
# make soak     looks for new cases against which a property does not hold, where the tests ask the same ones each time
# make bench    whole builds, and single steps, against Debian's buildah and plain tools in the same run, as ratios
# make install  the program, `build` as its second name, its manual and its completions for bash, zsh and fish, below PREFIX

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
SHARE = $(DESTDIR)$(PREFIX)/share

.PHONY: help test check soak bench install
help:
	@sed -n '/^# make/s/^# //p' Makefile

test:
	bash .ci/run

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) test --locked --quiet --test tidy
	$(CARGO) test --workspace --locked --lib --bins

soak: export PROPTEST_CASES = 2000
soak: export PROPTEST_MAX_GLOBAL_REJECTS = 1000000
soak:
	$(CARGO) test --locked --lib --tests $(addprefix -p kiln-,frontend template oci layer store builder)
	KILN_RANDOM_EDITS=300 KILN_RANDOM_SEED=$$(date +%s) $(CARGO) test --locked --test it random_edits

bench:
	bash tests/install-packages.sh
	$(CARGO) build --release --locked
	$(CARGO) build --release --locked -p kiln-layer --example bare_walk
	python3 benches/whole_builds.py target/release/kiln
	python3 benches/run_overhead.py target/release/kiln
	python3 benches/store_scale.py target/release/kiln
	python3 benches/shared_cache.py target/release/kiln
	python3 benches/transfers.py target/release/kiln

# `build -t app .` is `kiln build -t app .`: one program, told by its name.
install:
	$(CARGO) build --release --locked
	install -D -m 0755 target/release/kiln $(DESTDIR)$(PREFIX)/bin/kiln
	ln -f $(DESTDIR)$(PREFIX)/bin/kiln $(DESTDIR)$(PREFIX)/bin/build
	install -d $(addprefix $(SHARE)/,man/man1 bash-completion/completions zsh/site-functions fish/vendor_completions.d)
	target/release/kiln man $(SHARE)/man/man1
	target/release/kiln completions bash > $(SHARE)/bash-completion/completions/kiln
	target/release/kiln completions zsh > $(SHARE)/zsh/site-functions/_kiln
	target/release/kiln completions fish > $(SHARE)/fish/vendor_completions.d/kiln.fish
