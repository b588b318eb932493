//! `kiln cp`: Docker's rules for places, owners, links and archives; no path leaves the container, and no link of it is followed
//! on the host.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::{EXTREMES, Scene, Way};
use crate::support::requires;

#[test]
fn files_go_in_and_out_with_modes_and_links_in_each_way_of_running() {
    requires!("root", "busybox", "setpriv", "newuidmap", "python3");
    for way in EXTREMES {
        let scene = Scene::new(way);
        let place = scene.space.path("host");
        fs::create_dir_all(place.join("d/e")).unwrap();
        fs::write(place.join("d/f"), "one\n").unwrap();
        fs::set_permissions(place.join("d/f"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(place.join("d/f"), place.join("d/h")).unwrap();
        symlink("f", place.join("d/l")).unwrap();
        if let Some(user) = &scene.user {
            user.own(&place);
        }
        let cp = |from: &str, to: &str| scene.kiln(&["cp", from, to]).directory(&place).run();
        scene.said(&[
            "create",
            "--name=web",
            "busybox",
            "sh",
            "-c",
            "stat -c '%n %a %u %F' /in/e; stat -c '%n %a %u %h %F' /in/[fhl] /etc/f; cat /in/f; ls -R /m; rm -r /in; echo kept > /tmp/x",
        ]);
        cp("d", "web:/in").success();
        // The second time it goes into what the first one made.
        cp("d", "web:/m").success();
        cp("d", "web:/m/").success();
        cp("d/.", "web:/m/").success();
        cp("d/f", "web:etc").success();
        let seen = scene.said(&["start", "-a", "web"]);
        let expected = "/in/e 755 0 directory\n/in/f 640 0 2 regular file\n/in/h 640 0 2 regular file\n/in/l 777 0 1 symbolic link\n\
            /etc/f 640 0 1 regular file\none\n\
            /m:\nd\ne\nf\nh\nl\n\n/m/d:\ne\nf\nh\nl\n\n/m/d/e:\n\n/m/e:\n";
        assert_eq!(seen, expected, "{way:?}");
        // What went in and was removed is gone; what comes out is the caller's.
        cp("web:/in", "out").fails_with(1).says(&["could not find the file `/in` in container `web`"]);
        cp("web:/m", "out").success();
        cp("web:/m/d/.", "out").success();
        cp("web:/tmp/x", "out/f").success();
        assert_eq!(fs::read_to_string(place.join("out/f")).unwrap(), "kept\n", "{way:?}");
        let (h, d) = (fs::metadata(place.join("out/h")).unwrap(), fs::metadata(place.join("d/f")).unwrap());
        assert_eq!((h.mode(), h.uid(), h.size()), (d.mode(), d.uid(), 4), "{way:?}");
        assert_eq!(fs::read_link(place.join("out/d/l")).unwrap(), Path::new("f"));
        let left = fs::read_dir(&place).unwrap().count();
        assert_eq!(left, 2, "{way:?}: nothing but `d` and `out`");
        assert!(scene.said(&["diff", "web"]).starts_with("C /etc\nA /etc/f\nA /m\nA /m/d\nA /m/d/e\n"));
        // An image of it has the files, too.
        scene.said(&["commit", "web", "made"]);
        assert_eq!(scene.said(&["run", "--rm", "made", "cat", "/m/f", "/tmp/x"]), "one\nkept\n");
    }
}

#[test]
fn every_place_that_docker_refuses_is_refused_and_nothing_is_written() {
    requires!("root", "busybox");
    let scene = Scene::new(Way::Root);
    let place = scene.space.path("host");
    fs::create_dir_all(place.join("d")).unwrap();
    fs::write(place.join("f"), "f\n").unwrap();
    fs::write(place.join("d/bin"), "f\n").unwrap();
    scene.said(&["run", "--name=web", "busybox", "sh", "-c", "mkdir -p /x/f /y; echo 1 > /y/d"]);
    let before = scene.said(&["diff", "web"]);
    for (from, to, says) in [
        ("f", "web:/none/", "there is no such directory"),
        ("f", "web:/none/g", "could not find the file `/none` in container `web`"),
        ("f", "web:/y/d/", "it is no directory"),
        ("f", "web:/y/d/g", "leads nowhere"),
        ("f", "web:/x", "it is a directory, and something else is to be copied there"),
        ("d", "web:/y", "it is no directory, and a directory is to be copied there"),
        ("d", "web:/y/d", "it is no directory, and a directory is to be copied there"),
        ("d/.", "web:/", "it is a directory, and something else is to be copied there"),
        ("none", "web:/", "no such file or directory"),
        ("f/", "web:/", "it is no directory"),
        ("f", "nobody:/", "no such container: `nobody`"),
        ("web:/none", "d", "could not find the file `/none`"),
        ("no\nbody:/", "d", "no such container: `no\\x0abody`\n"),
        ("web:/a\x1b[2J\nb", "d", "could not find the file `/a\\x1b[2J\\x0ab` in container `web`\n"),
        ("a\nb", "web:/", "host/a\\x0ab`\n"),
        ("f", "web:/a\nb/c", "could not find the file `/a\\x0ab` in container `web`\n"),
        ("web:/y/d", "none/g", "no such file or directory"),
        ("web:/y/d", "none/", "there is no such directory"),
        ("web:/x", "f", "it is no directory, and a directory is to be copied there"),
        ("web:/bin", "d", "it is no directory, and a directory is to be copied there"),
    ] {
        let outcome = scene.kiln(&["cp", from, to]).directory(&place).run();
        outcome.fails_with(1).says(&[says]);
    }
    for (from, to, says) in [("f", "d", "neither end"), ("web:/x", "web:/y", "not copied between containers")]
    {
        scene.kiln(&["cp", from, to]).directory(&place).run().fails_with(2).says(&[says]);
    }
    assert_eq!(scene.said(&["diff", "web"]), before);
    let mut names: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["d", "f"]);
}

#[test]
fn links_lead_nowhere_but_inside_the_container() {
    requires!("root", "busybox");
    let scene = Scene::new(Way::Root);
    let place = scene.space.path("host");
    fs::create_dir_all(place.join("secret")).unwrap();
    fs::write(place.join("secret/key"), "precious\n").unwrap();
    let outside = place.display();
    let script = format!(
        "ln -s {outside}/secret /out; ln -s ../../../../../..{outside}/secret /up; ln -s /etc /abs; ln -s loop /loop; \
         mkdir -p /t/secret && echo mine > /t/secret/key && ln -s key /t/secret/near; mkdir -p /{outside}/secret"
    );
    scene.said(&["run", "--name=web", "busybox", "sh", "-c", &script]);
    let cp = |flags: &[&str], from: &str, to: &str| {
        scene.kiln(&["cp"]).args(flags).args([from, to]).directory(&place).run()
    };
    // The link leads to a directory of the container that has the same name.
    cp(&[], "web:/out/key", "got").fails_with(1).says(&["could not find the file `/out/key`"]);
    cp(&[], "web:/up/key", "got").fails_with(1).says(&["could not find the file `/up/key`"]);
    cp(&[], "web:/../../etc/../t/secret/key", "got").success();
    cp(&[], "web:/loop/x", "got").fails_with(1).says(&["leads nowhere"]);
    fs::write(place.join("f"), "mine\n").unwrap();
    cp(&[], "f", "web:/out/key").success();
    cp(&[], "f", "web:/abs/new").success();
    assert_eq!(fs::read_to_string(place.join("secret/key")).unwrap(), "precious\n");
    assert!(scene.said(&["diff", "web"]).contains("A /etc/new\n"));
    // As it is, or what it leads to.
    cp(&[], "web:/abs", "link").success();
    assert_eq!(fs::read_link(place.join("link")).unwrap(), Path::new("/etc"));
    cp(&["-L"], "web:/t/secret/near", "near").success();
    assert_eq!(fs::read_to_string(place.join("near")).unwrap(), "mine\n");
    // A link that an earlier copy left is not gone through by the next one.
    fs::create_dir(place.join("t")).unwrap();
    symlink("../secret", place.join("t/secret")).unwrap();
    cp(&[], "web:/t/.", "t").fails_with(1).says(&["it is no directory"]);
    assert_eq!(fs::read_to_string(place.join("secret/key")).unwrap(), "precious\n");
    cp(&["-L"], "link", "web:/followed").success();
    cp(&[], "link", "web:/as-it-is").success();
    let listed = scene.said(&["diff", "web"]);
    assert!(listed.contains("A /as-it-is\n") && listed.contains("A /followed/passwd\n"), "{listed}");
}

#[test]
fn archives_go_in_and_out_with_their_owners_where_that_is_asked_for() {
    requires!("root", "busybox");
    let scene = Scene::new(Way::Root);
    scene.said(&[
        "run",
        "--name=web",
        "busybox",
        "sh",
        "-c",
        "mkdir /s /t /u; echo x > '/s/a\nb'; chown 5:6 /s/*; ln -s x /s/l",
    ]);
    let archive = scene.kiln(&["cp", "web:/s", "-"]).run().success().stdout;
    scene.kiln(&["cp", "-", "web:/t"]).stdin(archive.clone()).run().success();
    scene.kiln(&["cp", "-a", "-", "web:/u"]).stdin(archive.clone()).run().success();
    let owners = |path: &str| {
        let listed = scene.kiln(&["cp", &format!("web:{path}"), "-"]).run().success().stdout;
        let mut archive = tar::Archive::new(&listed[..]);
        let entries = archive.entries().unwrap().map(Result::unwrap);
        let shown = |entry: tar::Entry<'_, &[u8]>| {
            let header = entry.header();
            format!(
                "{} {}",
                String::from_utf8_lossy(&entry.path_bytes()).escape_debug(),
                header.uid().unwrap()
            )
        };
        entries.map(shown).collect::<Vec<_>>()
    };
    assert_eq!(owners("/t/s"), ["s/ 0", "s/a\\nb 0", "s/l 0"]);
    assert_eq!(owners("/u/s/."), ["a\\nb 5", "l 0"]);
    scene
        .kiln(&["cp", "-", "web:/none"])
        .stdin(archive.clone())
        .run()
        .fails_with(1)
        .says(&["a directory that is there"]);
    scene
        .kiln(&["cp", "-", "web:/t"])
        .stdin("no archive")
        .run()
        .fails_with(1)
        .says(&["cannot read the archive"]);
    let place = scene.space.path("host");
    fs::create_dir(&place).unwrap();
    scene.kiln(&["cp", "-a", "web:/u/s", "kept"]).directory(&place).run().success();
    assert_eq!(fs::metadata(place.join("kept/a\nb")).unwrap().uid(), 5);
    // A line of a list is a line, whatever names are in it.
    assert!(scene.said(&["diff", "web"]).contains("A /s/a\\nb\n"));
    let hostile = hostile_archive();
    scene.kiln(&["cp", "-", "web:/t"]).stdin(hostile).run().fails_with(1);
    assert!(!scene.said(&["diff", "web"]).contains("evil"));
}

/// An archive with a file that lies above its root.
fn hostile_archive() -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..10].copy_from_slice(b"../../evil");
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.resize(3 * 512, 0);
    archive
}
