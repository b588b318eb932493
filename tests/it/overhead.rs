//! What makes a RUN cheap, and must not be seen: mount points below all layers, and layers that come to the disk while the next
//! step runs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::image::{check_blobs, read_one};
use crate::support::layer::LayerEntry;
use crate::support::users;
use crate::support::{TestSpace, requires};

/// An image with nothing but a shell: all that a step has mounted, it lacks.
const BARE: &str =
    "FROM scratch\nCOPY busybox /bin/sh\nRUN true\nRUN echo a > /etc/a\nRUN true\nRUN echo b > /etc/b\n";

fn context(space: &TestSpace, dockerfile: &str) -> PathBuf {
    let context = space.context("context", &[("Dockerfile", dockerfile)]);
    fs::copy("/bin/busybox", context.join("busybox")).unwrap();
    context
}

fn layers(layout: &Path) -> Vec<Vec<String>> {
    let entry = |entry: &LayerEntry| {
        format!("{} {:o} {}:{}", entry.path.escape_ascii(), entry.mode, entry.uid, entry.gid)
    };
    read_one(layout).layers.iter().map(|layer| layer.entries.iter().map(entry).collect()).collect()
}

#[test]
fn a_step_leaves_what_it_names_beside_mount_points_that_its_image_lacks() {
    requires!("root", "busybox", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let context = context(&space, BARE);
    let layout = space.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let expected = space.build(&context).args(["-o", &output]).run().success().digest();
    let file = |name: &str| vec!["etc 755 0:0".to_owned(), format!("etc/{name} 644 0:0")];
    let base = vec!["bin 755 0:0".to_owned(), "bin/sh 755 0:0".to_owned()];
    assert_eq!(layers(&layout), [base, vec![], file("a"), vec![], file("b")]);
    for user in [users::with_subordinate_ids(&space), users::with_single_id(&space)] {
        let built = space.build(&context).user(&user).store(&user.path("store")).run().success();
        assert_eq!(built.digest(), expected, "built by {}", user.name);
    }
}

#[test]
fn each_step_is_in_the_store_when_a_build_ends_well_or_badly() {
    requires!("root", "busybox");
    let space = TestSpace::new();
    let steps = "FROM scratch\nCOPY busybox /bin/sh\nRUN echo 1 > /1\nRUN echo 2 > /2\nRUN echo 3 > /3\n";
    let context = context(&space, &format!("{steps}RUN exit 7\n"));
    space.build(&context).run().fails_with(1);
    check_blobs(&space.store());
    let left: Vec<_> = fs::read_dir(space.store().join("scratch")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    fs::write(context.join("Dockerfile"), steps).unwrap();
    let again = space.build(&context).run().success();
    // If the last one is known, no other is asked for.
    again.says(&["CACHED"]).never_says(&["RUN echo 1", "RUN echo 2"]);
}
