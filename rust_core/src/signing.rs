//! Signatures in OpenSSH's own format: what is signed here `ssh-keygen -Y verify` checks, and the other way round.
//!
//! Ed25519 alone: every OpenSSH of the last ten years makes such keys, and one algorithm is one thing to get wrong.

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};

/// A new key without a passphrase: the private half as a file of OpenSSH, the public one as a line.
pub fn make_key(comment: &str) -> Result<(String, String), String> {
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(|error| error.to_string())?;
    key.set_comment(comment);
    let private = key.to_openssh(LineEnding::LF).map_err(|error| error.to_string())?;
    Ok((private.to_string(), public_line(key.public_key())?))
}

/// The signature as PEM, and the public key without its comment.
pub fn sign(private_key: &str, namespace: &str, message: &[u8]) -> Result<(String, String), String> {
    let mut key = PrivateKey::from_openssh(private_key).map_err(|error| format!("it is no OpenSSH key: {error}"))?;
    if key.is_encrypted() {
        return Err("it has a passphrase".to_owned());
    }
    if key.algorithm() != Algorithm::Ed25519 {
        return Err(format!("it is of type {}, not ssh-ed25519", key.algorithm()));
    }
    key.set_comment("");
    let signature = key.sign(namespace, HashAlg::Sha512, message).map_err(|error| error.to_string())?;
    let pem = signature.to_pem(LineEnding::LF).map_err(|error| error.to_string())?;
    Ok((pem, public_line(key.public_key())?))
}

/// The public key that made `signature`, where it really is one of `message`.
pub fn signer(signature: &str, namespace: &str, message: &[u8]) -> Result<String, String> {
    let signature = SshSig::from_pem(signature).map_err(|error| format!("it is no SSH signature: {error}"))?;
    let key = PublicKey::from(signature.public_key().clone());
    if key.algorithm() != Algorithm::Ed25519 {
        return Err(format!("it is by a key of type {}, not ssh-ed25519", key.algorithm()));
    }
    key.verify(namespace, message, &signature).map_err(|_| "it does not fit what it stands for".to_owned())?;
    public_line(&key)
}

fn public_line(key: &PublicKey) -> Result<String, String> {
    key.to_openssh().map(|line| line.trim_end().to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_names_its_key_and_fits_one_message_and_namespace() {
        let (private, public) = make_key("me").unwrap();
        let (signature, signed_by) = sign(&private, "claw", b"message").unwrap();
        assert_eq!(public, format!("{signed_by} me"));
        assert_eq!(signer(&signature, "claw", b"message").unwrap(), signed_by);
        assert!(signer(&signature, "claw", b"messagE").is_err());
        assert!(signer(&signature, "git", b"message").is_err());
        assert!(signer("nonsense", "claw", b"message").is_err());
        assert!(sign(&public, "claw", b"message").is_err());
    }
}
