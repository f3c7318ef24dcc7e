//! Keys and signatures, in minisign's formats: whoever distrusts this program can check a package with `minisign -V`.
//!
//! A signature lies beside its package, as PACKAGE.minisig, and covers the package's bytes and a comment that says
//! which package it is.

use super::PackageId;
use crate::{Code, Error, Result, files, foreign};
use minisign::{KeyPair, SecretKey, SecretKeyBox};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::OpenOptions,
    io::{Cursor, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The password of a key, for where nobody can be asked.
pub const PASSWORD_ENV: &str = "LDALIGN_KEY_PASSWORD";
/// The most bytes of a key or signature file.
const LIMIT: u64 = 4 << 10;

/// A public key: what a team hands to those who shall trust it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey {
    base64: String,
    id: String,
}

impl PublicKey {
    /// Its number in hex, as minisign shows it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key written out, or in the file of that name.
    pub fn given(text: &str) -> Result<Self> {
        let path = Path::new(text);
        match text.parse() {
            Err(_) if path.is_file() => String::from_utf8_lossy(&foreign::read_up_to(path, LIMIT)?)
                .parse()
                .map_err(|e: Error| e.at(path.display())),
            parsed => parsed,
        }
    }

    /// Checks that this key signed these bytes as this package.
    ///
    /// # Errors
    /// `share/signature`: of another key, of other bytes, of another package, or damaged.
    pub fn verify(&self, id: &PackageId, bytes: &[u8], signature: &str) -> Result<()> {
        let refuse = |what: String| {
            Error::new(Code::ShareSignature, format!("{id}: {what}"))
                .hint("do not use this package; get package and signature again, or ask who published them")
        };
        let damaged = |e| refuse("its signature is damaged".into()).caused_by(e);
        let signature = minisign_verify::Signature::decode(signature).map_err(damaged)?;
        let key = minisign_verify::PublicKey::from_base64(&self.base64).map_err(damaged)?;
        key.verify(bytes, &signature, false).map_err(|e| match e {
            minisign_verify::Error::UnexpectedKeyId => {
                refuse(format!("signed by another key than the {self} trusted here"))
            }
            _ => refuse(format!("its signature by {self} does not fit the file, which was changed")).caused_by(e),
        })?;
        let (said, meant) = (signature.trusted_comment(), comment(id, bytes));
        if said != meant {
            return Err(refuse(format!("its signature is one for another package: it says {said:?}, not {meant:?}")));
        }
        Ok(())
    }
}

impl FromStr for PublicKey {
    type Err = Error;
    /// From base64 alone, or from the two lines of a key file.
    fn from_str(text: &str) -> Result<Self> {
        let base64 = text.trim().lines().last().unwrap_or_default().trim();
        let wrong = || {
            Error::new(Code::ShareKey, "not a public key")
                .hint("expected the 56 characters that `ldalign plugin keygen` printed, or the .pub file it wrote")
        };
        minisign_verify::PublicKey::from_base64(base64).map_err(|e| wrong().caused_by(e))?;
        let key = minisign::PublicKey::from_base64(base64).map_err(|e| wrong().caused_by(e))?;
        Ok(Self { base64: base64.to_owned(), id: number(key.keynum()) })
    }
}

impl TryFrom<String> for PublicKey {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.base64
    }
}

/// By its number; written out too in `{:#}`, since whoever makes a key chooses the number.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}", self.id)?;
        if f.alternate() { write!(f, " ({})", self.base64) } else { Ok(()) }
    }
}

/// Little-endian bytes as the number minisign shows.
fn number(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|b| format!("{b:02X}")).collect()
}

/// What a signature says of the package it covers.
fn comment(id: &PackageId, bytes: &[u8]) -> String {
    let PackageId { name, version, target } = id;
    format!("name:{name} version:{version} target:{target} sha256:{}", files::sha256(bytes))
}

/// Where the signature of a package file lies.
pub fn signature_path(package: &Path) -> PathBuf {
    let mut name = package.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Reads the signature beside a package file.
pub fn signature_of(package: &Path) -> Result<String> {
    let path = signature_path(package);
    if !path.exists() {
        return Err(Error::new(Code::ShareSignature, format!("{} has no signature beside it", package.display()))
            .hint(format!("expected {}, which `ldalign plugin sign` makes", path.display())));
    }
    Ok(String::from_utf8_lossy(&foreign::read_up_to(&path, LIMIT)?).into_owned())
}

/// Makes a key pair: `path` with the secret key, readable by its owner alone, and `path`.pub. Neither is overwritten.
///
/// `encrypted` asks for a password on the terminal, unless [`PASSWORD_ENV`] is set.
pub fn generate(path: &Path, encrypted: bool) -> Result<(PublicKey, PathBuf)> {
    let public_path = path.with_added_extension("pub");
    if let Some(taken) = [path, &public_path].into_iter().find(|p| p.exists()) {
        return Err(Error::new(Code::ShareKey, format!("{} is there already", taken.display()))
            .hint("a lost key cannot be made again: choose another name"));
    }
    let fail = |e| Error::new(Code::ShareKey, "cannot make a key").hint(no_terminal()).caused_by(e);
    let pair = match encrypted {
        true => KeyPair::generate_encrypted_keypair(std::env::var(PASSWORD_ENV).ok()),
        false => KeyPair::generate_unencrypted_keypair(),
    };
    let KeyPair { pk, sk } = pair.map_err(fail)?;
    let secret = sk.to_box(Some("ldalign plugin signing key: keep it secret")).map_err(fail)?.into_string();
    let public = pk.to_box().map_err(fail)?.into_string();
    files::make_dir(files::parent(path))?;
    // Never readable by others, not for a moment; not through `files`, whose temporary twin would be.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| files::io_error(path, "create", e))?;
    file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| {
        let _ = std::fs::remove_file(path);
        files::io_error(path, "write", e)
    })?;
    files::write(&public_path, public.as_bytes())?;
    Ok((public.parse()?, public_path))
}

/// Signs a package's bytes; returns the text of its signature file and the key that checks it.
///
/// Asks for the key's password on the terminal where it has one and [`PASSWORD_ENV`] is not set.
pub fn sign(id: &PackageId, bytes: &[u8], key: &Path) -> Result<(String, PublicKey)> {
    let fail = |e| Error::new(Code::ShareKey, format!("{}: cannot sign with this key", key.display())).caused_by(e);
    let text = String::from_utf8_lossy(&foreign::read_up_to(key, LIMIT)?).into_owned();
    let as_box = || SecretKeyBox::from_string(&text).map_err(fail);
    let secret = match as_box()?.into_unencrypted_secret_key() {
        Ok(secret) => secret,
        Err(_) => unlock(as_box()?).map_err(|e| fail(e).hint(no_terminal()))?,
    };
    let public = minisign::PublicKey::from_secret_key(&secret).map_err(fail)?;
    let signature = minisign::sign(
        Some(&public),
        &secret,
        Cursor::new(bytes),
        Some(&comment(id, bytes)),
        Some("ldalign plugin package"),
    )
    .map_err(fail)?
    .into_string();
    let public: PublicKey = public.to_base64().parse()?;
    public.verify(id, bytes, &signature)?;
    Ok((signature, public))
}

fn unlock(secret: SecretKeyBox) -> minisign::Result<SecretKey> {
    secret.into_secret_key(std::env::var(PASSWORD_ENV).ok())
}

fn no_terminal() -> String {
    format!("where nobody can be asked for a password, set {PASSWORD_ENV}, or make the key with --no-password")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn id(version: &str) -> PackageId {
        PackageId { name: "chord".into(), version: version.parse().unwrap(), target: "x86_64-linux-gnu".into() }
    }

    fn key(dir: &Path, name: &str) -> (PathBuf, PublicKey) {
        let path = dir.join(name);
        let (public, _) = generate(&path, false).unwrap();
        (path, public)
    }

    #[test]
    fn a_signature_is_for_one_package_of_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let ((path, public), (_, other)) = (key(dir.path(), "a"), key(dir.path(), "b"));
        let (signature, by) = sign(&id("0.1.0"), b"bytes", &path).unwrap();
        assert_eq!(by, public);
        public.verify(&id("0.1.0"), b"bytes", &signature).unwrap();
        let says = |e: Result<()>| {
            let e = e.unwrap_err();
            assert_eq!(e.code(), Code::ShareSignature);
            format!("{e:#}")
        };
        let e = says(other.verify(&id("0.1.0"), b"bytes", &signature));
        assert!(e.ends_with(&format!("signed by another key than the {other} trusted here")), "{e}");
        let e = says(public.verify(&id("0.1.0"), b"Bytes", &signature));
        assert!(e.contains("does not fit the file"), "{e}");
        let e = says(public.verify(&id("0.2.0"), b"bytes", &signature));
        assert!(e.contains("one for another package"), "{e}");
        let e = says(public.verify(&id("0.2.0"), b"bytes", &signature.replace("version:0.1.0", "version:0.2.0")));
        assert!(e.contains("does not fit the file"), "{e}");
        for cut in 0..signature.len() - 1 {
            assert!(public.verify(&id("0.1.0"), b"bytes", &signature[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn key_files_are_private_never_overwritten_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (path, public) = key(dir.path(), "team");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let file = dir.path().join("team.pub");
        let (as_file, as_text) = (PublicKey::given(file.to_str().unwrap()), PublicKey::given(&public.base64));
        assert_eq!((as_file.unwrap(), as_text.unwrap()), (public.clone(), public));
        assert!(generate(&path, false).unwrap_err().message().ends_with("team is there already"));
        assert_eq!(PublicKey::given("nonsense").unwrap_err().code(), Code::ShareKey);
        std::fs::write(&path, "untrusted comment: x\nAAAA\n").unwrap();
        assert_eq!(sign(&id("0.1.0"), b"bytes", &path).unwrap_err().code(), Code::ShareKey);
    }

    proptest::proptest! {
        #[test]
        fn no_signature_text_panics(text in "(untrusted comment: x\n)?[A-Za-z0-9+/=]{0,120}\n(trusted comment: )?.{0,20}\n[A-Za-z0-9+/=]{0,120}") {
            let public = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3".parse::<PublicKey>().unwrap();
            proptest::prop_assert!(public.verify(&id("0.1.0"), b"bytes", &text).is_err());
        }
    }
}
