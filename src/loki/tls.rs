//! Certificates and keys for HTTPS, from PEM files.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// PEM files for HTTPS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// Client certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why a file does not serve.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} holds no {what} in PEM", path.display())]
    Holds {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Each is well-formed, but not usable, or not usable together.
    #[error("the certificate in {} and the key in {} do not work together", cert.display(), key.display())]
    Pair {
        /// File of the certificate.
        cert: PathBuf,
        /// File of the key.
        key: PathBuf,
    },
}

impl Tls {
    /// Reads the files and gives them to the builder.
    pub(super) fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, TlsError> {
        if let Some(path) = &self.ca {
            let pem = read(path)?;
            certificate(path, &pem)?;
            let holds = |_| TlsError::Holds { path: path.clone(), what: "usable certificate" };
            builder = builder.tls_certs_merge(Certificate::from_pem_bundle(&pem).map_err(holds)?);
        }
        if let Some((cert, key)) = &self.client {
            let (mut pem, key_pem) = (read(cert)?, read(key)?);
            let first = certificate(cert, &pem)?;
            let holds = |_| TlsError::Holds { path: key.clone(), what: "key" };
            let private = PrivateKeyDer::from_pem_slice(&key_pem).map_err(holds)?;
            let pair = || TlsError::Pair { cert: cert.clone(), key: key.clone() };
            check_pair(first, private).ok_or_else(pair)?;
            // The certificate's file may hold a key too, and the last one counts.
            pem.push(b'\n');
            pem.extend_from_slice(&key_pem);
            builder = builder.identity(Identity::from_pem(&pem).map_err(|_| pair())?);
        }
        Ok(builder)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

/// The first certificate of a file.
fn certificate(path: &Path, pem: &[u8]) -> Result<CertificateDer<'static>, TlsError> {
    CertificateDer::from_pem_slice(pem).map_err(|_| TlsError::Holds { path: path.to_owned(), what: "certificate" })
}

/// Says at once what else only the first handshake would, and to nobody in particular.
fn check_pair(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Option<()> {
    let key = rustls::crypto::ring::sign::any_supported_type(&key).ok()?;
    rustls::sign::CertifiedKey::new(vec![certificate], key).keys_match().ok()
}

/// What a person can do about a TLS error, if it is one that stays until a person acts.
pub(super) fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error as Tls};
    match tls_error(error)? {
        Tls::InvalidCertificate(Bad::UnknownIssuer) => Some("tls-ca-file names certificates to trust"),
        Tls::InvalidCertificate(_) => Some("the server's certificate is not acceptable"),
        Tls::AlertReceived(
            Alert::CertificateRequired | Alert::BadCertificate | Alert::UnknownCA | Alert::AccessDenied,
        ) => Some("the server wants another client certificate; see tls-cert-file and tls-key-file"),
        _ => None,
    }
}

/// The TLS error among the causes. I/O errors hide it from [`Error::source`].
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inside: Option<&'a (dyn Error + 'static)> =
            error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).map(|inside| inside as _);
        next = inside.or_else(|| error.source());
    }
    None
}
