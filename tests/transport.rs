//! The way to Loki: certificates, proxies, and that secrets stay secret on it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "common/binary.rs"]
mod binary;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "common/fake_loki.rs"]
mod fake_loki;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "common/shipping.rs"]
mod shipping;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use binary::{Done, Scratch, run};
use fake_loki::{Answer, FakeLoki};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use shipping::{LOG, Setup, chunks, numbers, until};
use testwire::loki::push::{Client, RetryClass, Transport};
use testwire::loki::tls::Tls;
use testwire::ship::{DeliveryState, Drain};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

const EVENT: &[u8] = b"{\"testwire\":1,\"event\":\"test_finished\",\"test\":\"a\",\"status\":\"passed\"}\n";

/// A certificate authority, and what it has signed, in a folder.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { folder: tempfile::tempdir().unwrap(), issuer };
        std::fs::write(authority.file("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes `<name>.pem` and `<name>.key` for these hosts.
    fn sign(&self, name: &str, hosts: &[&str]) -> (PathBuf, PathBuf) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(hosts).unwrap().signed_by(&key, &self.issuer).unwrap();
        let files = (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    /// A server for these hosts; with `demands` only for clients that have a certificate of this authority.
    fn server(&self, hosts: &[&str], demands: bool) -> Arc<ServerConfig> {
        let (cert, key) = self.sign("server", hosts);
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = match demands {
            true => ServerConfig::builder()
                .with_client_cert_verifier(WebPkiClientVerifier::builder(roots.into()).build().unwrap()),
            false => ServerConfig::builder().with_no_client_auth(),
        };
        let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
        Arc::new(builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap())
    }
}

struct TlsListener {
    tcp: TcpListener,
    tls: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = tokio_rustls::server::TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (socket, address) = self.tcp.accept().await.unwrap();
            // A client that does not like the certificate is gone here.
            if let Ok(stream) = self.tls.accept(socket).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A Loki behind HTTPS that stores all.
async fn https(config: Arc<ServerConfig>) -> FakeLoki {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", tcp.local_addr().unwrap());
    FakeLoki::start_on(TlsListener { tcp, tls: config.into() }, url, |_| Answer::stored())
}

fn transport(url: &str, ca: Option<PathBuf>, client: Option<(PathBuf, PathBuf)>) -> Transport {
    Transport { tls: Tls { ca, client }, ..Transport::new(url) }
}

fn error(setup: &Setup) -> String {
    match setup.shipper.delivery().state {
        DeliveryState::Waiting { error, .. } => error,
        DeliveryState::Ok => String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_an_authority_that_is_trusted_is_used_and_another_waited_for() {
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let loki = https(ours.server(&["127.0.0.1"], false)).await;
    let mut setup = Setup::with(&transport(&loki.url, Some(ours.file("ca.pem")), None));
    setup.append(chunks("log", 0..100, 0));
    assert_eq!(setup.drain().await, Drain::Drained, "{:?}", setup.stats().last_error());
    assert_eq!(numbers(&loki.stored(LOG)), (0..100).collect::<Vec<_>>());

    for ca in [None, Some(other.file("ca.pem"))] {
        let mut setup = Setup::with(&transport(&loki.url, ca, None));
        setup.append(chunks("log", 0..7, 0));
        until("refused", || setup.retried(RetryClass::Person) >= 1).await;
        let text = error(&setup);
        assert!(text.contains("UnknownIssuer") && text.contains("tls-ca-file"), "{text}");
        assert_eq!(setup.shipper.drain(Duration::from_millis(100)).await, Drain::Left { entries: 7 });
    }
    assert_eq!(loki.stored_total(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_host_is_not_accepted() {
    let ours = Authority::new("ours");
    let loki = https(ours.server(&["loki.test"], false)).await;
    let setup = Setup::with(&transport(&loki.url, Some(ours.file("ca.pem")), None));
    setup.append(chunks("log", 0..7, 0));
    until("refused", || setup.retried(RetryClass::Person) >= 1).await;
    assert!(error(&setup).contains("certificate is not acceptable"), "{}", error(&setup));
    assert_eq!(loki.stored_total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_demands_a_client_certificate_gets_it() {
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let loki = https(ours.server(&["127.0.0.1"], true)).await;
    let ca = || Some(ours.file("ca.pem"));
    let mut setup = Setup::with(&transport(&loki.url, ca(), Some(ours.sign("client", &["ci"]))));
    setup.append(chunks("log", 0..100, 0));
    assert_eq!(setup.drain().await, Drain::Drained, "{:?}", setup.stats().last_error());
    assert_eq!(loki.stored_total(), 100);

    for client in [None, Some(other.sign("client", &["ci"]))] {
        let setup = Setup::with(&transport(&loki.url, ca(), client));
        setup.append(chunks("log", 0..7, 0));
        until("refused", || setup.retried(RetryClass::Person) + setup.retried(RetryClass::Connection) >= 1).await;
        println!("{}", error(&setup));
    }
    assert_eq!(loki.stored_total(), 100);
}

#[test]
fn files_that_do_not_serve_are_named() {
    let ours = Authority::new("ours");
    let (cert, key) = ours.sign("client", &["ci"]);
    let other = ours.sign("other", &["ci"]);
    let (none, empty) = (ours.file("none.pem"), ours.file("empty.pem"));
    std::fs::write(&empty, "no PEM").unwrap();
    let text = |ca: Option<&Path>, client: Option<(&Path, &Path)>| {
        let client = client.map(|(cert, key)| (cert.to_owned(), key.to_owned()));
        let error = Client::new(&transport("https://loki.test", ca.map(Path::to_owned), client)).unwrap_err();
        error.to_string()
    };
    let name = |path: &Path| path.display().to_string();
    assert!(text(Some(&none), None).starts_with(&format!("cannot read {}: No such file", name(&none))));
    assert_eq!(text(Some(&empty), None), format!("{} holds no certificate in PEM", name(&empty)));
    assert_eq!(text(None, Some((&empty, &key))), format!("{} holds no certificate in PEM", name(&empty)));
    assert_eq!(text(None, Some((&cert, &empty))), format!("{} holds no key in PEM", name(&empty)));
    assert_eq!(text(None, Some((&key, &cert))), format!("{} holds no certificate in PEM", name(&key)));
    let pair = text(None, Some((&cert, &other.1)));
    assert_eq!(
        pair,
        format!("the certificate in {} and the key in {} do not work together", name(&cert), name(&other.1))
    );
}

/// A proxy that knows no names: whoever is asked for is at `target`. Remembers what it was asked.
async fn connect_proxy(target: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let remember = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (target, remember) = (target.clone(), Arc::clone(&remember));
            tokio::spawn(async move {
                let mut client = BufReader::new(socket);
                let mut line = String::new();
                client.read_line(&mut line).await.unwrap();
                remember.lock().unwrap().push(line.trim().to_owned());
                while line != "\r\n" {
                    line.clear();
                    client.read_line(&mut line).await.unwrap();
                }
                let mut server = TcpStream::connect(target).await.unwrap();
                client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
                // Either side may end it.
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
    (url, asked)
}

/// `testwire pipe` of one event with these arguments and variables.
async fn piped(arguments: &[&str], variables: &[(&str, &str)]) -> (Done, Scratch) {
    let scratch = Scratch::new();
    let mut command = scratch.testwire(["pipe", "--project=shop", "--drain-timeout=3s"].iter().chain(arguments));
    command.envs(variables.iter().copied());
    let done = tokio::task::spawn_blocking(move || run(&mut command, EVENT)).await.unwrap();
    (done, scratch)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_is_used_also_for_https_and_never_for_this_machine() {
    let ours = Authority::new("ours");
    let loki = https(ours.server(&["loki.test"], false)).await;
    let (proxy, asked) = connect_proxy(loki.url.trim_start_matches("https://").to_owned()).await;
    let ca = format!("--tls-ca-file={}", ours.file("ca.pem").display());
    let (done, _) = piped(&["--loki-url=https://loki.test:3100", &ca], &[("HTTPS_PROXY", &proxy)]).await;
    assert_eq!(done.code, 0, "{}", done.err());
    assert!(loki.stored_total() > 0);
    assert!(asked.lock().unwrap().iter().all(|line| line == "CONNECT loki.test:3100 HTTP/1.1"), "{asked:?}");

    // In plain HTTP a proxy is asked for the whole URL; a scripted Loki will do.
    let plain = FakeLoki::start(|_| Answer::stored()).await;
    let (done, _) = piped(&["--loki-url=http://loki.test:3100"], &[("HTTP_PROXY", &plain.url)]).await;
    assert_eq!((done.code, plain.pushes().is_empty()), (0, false), "{}", done.err());

    let before = asked.lock().unwrap().len();
    let variables = [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", "loki.test")];
    let (done, _) = piped(&["--loki-url=https://loki.test:3100", &ca], &variables).await;
    assert_eq!(done.code, 5, "{}", done.err());
    let (done, _) = piped(&[&format!("--loki-url={}", plain.url)], &[("HTTP_PROXY", &proxy)]).await;
    assert_eq!((done.code, asked.lock().unwrap().len()), (0, before), "{}", done.err());
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_loki_and_nothing_else() {
    let loki = FakeLoki::start(|push| match push.number {
        0 => Answer::status(401, "who are you?"),
        _ => Answer::stored(),
    })
    .await;
    let url = format!("--loki-url={}", loki.url);
    let secrets = [("TESTWIRE_BEARER_TOKEN", "s3cret-token"), ("TESTWIRE_HEADER", "X-Api-Key=s3cret-key,X-B=b")];
    let (done, scratch) = piped(&[&url, "--log-level=trace", "--drain-timeout=30s"], &secrets).await;
    assert_eq!(done.code, 0, "{}", done.err());
    assert!(done.err().contains("Loki answered 401"), "{}", done.err());
    let pushes = loki.pushes();
    for (name, value) in [("authorization", "Bearer s3cret-token"), ("x-api-key", "s3cret-key"), ("x-b", "b")] {
        assert_eq!(pushes[0].headers.get(name).unwrap(), value);
    }
    let said = |done: &Done| format!("{}{}", done.out(), done.err());
    assert!(!said(&done).contains("s3cret"), "{}", said(&done));
    for arguments in [&["check", "--config", &url][..], &["pipe", "--help"], &["check", &url]] {
        let mut command = scratch.testwire(arguments);
        let done = tokio::task::spawn_blocking(move || run(command.envs(secrets), b"")).await.unwrap();
        assert!(!said(&done).contains("s3cret"), "{arguments:?}: {}", said(&done));
    }
    let grep = std::process::Command::new("grep").arg("-r").arg("s3cret").arg(scratch.state()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "", "in the state directory");
}
