//! Stand-ins for base images where no registry can be reached: Debian by debootstrap, its Postgres and Redis, and this machine's
//! Rust. They bear the official names for as long as the test runs, and a label that tells them apart.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{engine::Engine, home};
use crate::{
    folder,
    instance::{Instance, Output},
    machine::{self, Need},
    say,
};

/// What an image that stands in for another is marked with, as is whatever is built on it.
pub(crate) const LABEL: &str = "larder.stand-in";
/// The release whose name is in the images' tags.
const SUITE: &str = "bookworm";

/// How the stand-in for an image is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recipe {
    Debian,
    Postgres,
    Redis,
    Rust,
}

impl Recipe {
    pub(crate) fn of(image: &str) -> Result<Self> {
        Ok(match image.split(':').next() {
            Some("debian") => Self::Debian,
            Some("postgres") => Self::Postgres,
            Some("redis") => Self::Redis,
            Some("rust") => Self::Rust,
            _ => bail!(
                "{image} cannot be pulled, and there is no recipe for a stand-in: see xtask/src/compose/stand_ins.rs"
            ),
        })
    }

    fn contents(self) -> &'static str {
        match self {
            Self::Debian => {
                "a minimal Debian by debootstrap, which trusts the authorities in /usr/local/share/ca-certificates"
            }
            Self::Postgres => "Debian's PostgreSQL",
            Self::Redis => "Debian's Redis",
            Self::Rust => "the Rust toolchain of this machine, and Debian's gcc",
        }
    }

    /// What its image is built from, by file name.
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Debian => &[],
            Self::Postgres => &[
                ("Dockerfile", include_str!("stand_ins/postgres.Dockerfile")),
                ("postgres.sh", include_str!("stand_ins/postgres.sh")),
            ],
            Self::Redis => &[
                ("Dockerfile", include_str!("stand_ins/redis.Dockerfile")),
                ("redis.sh", include_str!("stand_ins/redis.sh")),
            ],
            Self::Rust => &[("Dockerfile", include_str!("stand_ins/rust.Dockerfile"))],
        }
    }
}

/// Makes a stand-in for each of these images, under its name.
pub(crate) fn make(instance: &mut Instance, images: &[String]) -> Result<()> {
    say::step(
        "Making stand-ins for the images that cannot be pulled. They are NOT the official ones, and are removed at the end",
    );
    if !machine::is_root() {
        bail!(
            "{} cannot be pulled, and only root can make stand-ins. Pull them, or run this as root.",
            images.join(", ")
        );
    }
    machine::provide(&[Need::Debootstrap])?;
    // Noted before they are made, so that none is forgotten.
    fs::write(list()?, images.join("\n")).context("cannot note which stand-ins are made")?;
    let mut recipes = Vec::new();
    for image in images {
        recipes.push((Recipe::of(image)?, image.as_str()));
    }
    let debian = match recipes.iter().find(|(recipe, _)| *recipe == Recipe::Debian) {
        Some((_, image)) => {
            say::note(&format!("{image}: {}", Recipe::Debian.contents()));
            bootstrap(instance, image)?;
            (*image).to_owned()
        }
        None => format!("debian:{SUITE}-slim"),
    };
    for (recipe, image) in recipes.iter().filter(|(recipe, _)| *recipe != Recipe::Debian) {
        say::note(&format!("{image}: {}", recipe.contents()));
        build(instance, *recipe, image, &debian)?;
    }
    Ok(())
}

fn bootstrap(instance: &mut Instance, image: &str) -> Result<()> {
    let (root, archive) = (home()?.join("debian"), home()?.join("debian.tar"));
    remove_dir(&root)?;
    // In a mount namespace of its own: what debootstrap mounts is gone with it, even if it is killed.
    let mut debootstrap = Command::new("unshare");
    debootstrap
        .args(["--mount", "debootstrap", "--variant=minbase", SUITE])
        .arg(&root);
    instance
        .run("debootstrap", debootstrap, Output::Log)?
        .success("making a minimal Debian")?;
    for leftovers in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        remove_dir(&root.join(leftovers))?;
    }
    let authorities = Path::new("/usr/local/share/ca-certificates");
    if authorities.exists() {
        let mut copy = Command::new("cp");
        copy.args(["-rL", "-T"])
            .arg(authorities)
            .arg(root.join("usr/local/share/ca-certificates"));
        instance
            .run("cp-authorities", copy, Output::Log)?
            .success("copying this machine's certificate authorities")?;
    }
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".");
    instance.run("tar", tar, Output::Log)?.success("packing Debian")?;
    let label = format!("LABEL {LABEL}={image}");
    let import = ["import", "--change", &label, "--change", "CMD [\"bash\"]"];
    let mut import = Engine::docker(&import);
    import.arg(&archive).arg(image);
    instance
        .run("docker-import", import, Output::Log)?
        .success("importing Debian")?;
    remove_dir(&root)?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))
}

fn build(instance: &mut Instance, recipe: Recipe, image: &str, debian: &str) -> Result<()> {
    let context = home()?.join("context");
    remove_dir(&context)?;
    fs::create_dir_all(&context).with_context(|| format!("cannot create {}", context.display()))?;
    for (name, text) in recipe.files() {
        fs::write(context.join(name), text).with_context(|| format!("cannot write {name} to {}", context.display()))?;
    }
    if recipe == Recipe::Rust {
        copy_toolchain(instance, &context)?;
    }
    let (label, base) = (format!("{LABEL}={image}"), format!("BASE={debian}"));
    let mut build = Engine::docker(&["build", "--label", &label, "--build-arg", &base, "--tag", image]);
    build.arg(&context);
    instance
        .run("docker-build-stand-in", build, Output::Log)?
        .success(&format!("building a stand-in for {image}"))?;
    remove_dir(&context)
}

/// The compiler that the workspace names, without what only people read.
fn copy_toolchain(instance: &mut Instance, context: &Path) -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "sysroot"]).current_dir(folder::workspace());
    let sysroot = instance
        .run("rustc-sysroot", rustc, Output::Log)?
        .success("asking rustc where it is")?;
    let sysroot = PathBuf::from(sysroot.trim());
    let bin = context.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    let mut copy = Command::new("cp");
    copy.args(["-rL", "--target-directory"])
        .arg(&bin)
        .args([sysroot.join("bin/cargo"), sysroot.join("bin/rustc")]);
    let mut copy_lib = Command::new("cp");
    copy_lib
        .args(["-r", "--target-directory"])
        .arg(context)
        .arg(sysroot.join("lib"));
    for command in [copy, copy_lib] {
        instance
            .run("cp-toolchain", command, Output::Log)?
            .success("copying the Rust toolchain")?;
    }
    Ok(())
}

fn remove_dir(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}

/// Where it is noted which stand-ins there may be.
fn list() -> Result<PathBuf> {
    Ok(home()?.join("stand-ins"))
}

pub(crate) fn may_be_there() -> bool {
    folder::larder().join("compose/stand-ins").exists()
}

/// Removes them, and what was built on them and has no name any more. An image without the label is none of ours.
pub(crate) fn clear() -> Result<Vec<String>> {
    if !may_be_there() {
        return Ok(Vec::new());
    }
    let path = list()?;
    let noted = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let labelled = format!("label={LABEL}");
    let mut removed = Vec::new();
    for image in noted.lines() {
        let (label, name) = (format!("label={LABEL}={image}"), format!("reference={image}"));
        if !Engine::list(&["image", "ls", "--quiet", "--filter", &label, "--filter", &name])?.is_empty() {
            Engine::ask(Engine::docker(&["image", "rm", image]))?;
            removed.push(format!("the stand-in for {image}"));
        }
    }
    Engine::ask(Engine::docker(&["image", "prune", "--force", "--filter", &labelled]))?;
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(removed)
}
