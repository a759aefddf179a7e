//! A hub over HTTPS, as Python serves it with a certificate of an authority made for the test. Skips where there is no
//! python3 or openssl.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::assert_says;
use crate::experiment::text;
use crate::fetch::{Fetch, REVISION};
use crate::fixtures::skip;

/// Makes the authority `authority.pem` and a certificate for localhost, `certificate.pem` and `key.pem`.
const CERTIFICATES: &str = "set -e
openssl req -x509 -newkey rsa:2048 -nodes -keyout authority.key -out authority.pem -days 2 -subj /CN=test
openssl req -newkey rsa:2048 -nodes -keyout key.pem -out request.csr -subj /CN=localhost
printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' >extensions
openssl x509 -req -in request.csr -CA authority.pem -CAkey authority.key -CAcreateserial -out certificate.pem -days 2 \
    -extfile extensions";

/// Serves the current folder, or sends everyone to where the file `redirect-to` says, and prints the port.
const SERVER: &str = "import http.server, os, ssl
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if not os.path.exists('redirect-to'):
            return super().do_GET()
        self.send_response(302)
        self.send_header('Location', open('redirect-to').read() + self.path)
        self.end_headers()
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('certificate.pem', 'key.pem')
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()";

/// Ends when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server of this folder and its port, or the reason to skip.
fn serve(folder: &Path) -> Result<(Server, String), String> {
    let made = Command::new("sh").args(["-c", CERTIFICATES]).current_dir(folder).output();
    let made = made.map_err(|error| error.to_string())?;
    if !made.status.success() {
        return Err(format!("no certificates: {}", String::from_utf8_lossy(&made.stderr).trim()));
    }
    let mut command = Command::new("python3");
    command.args(["-c", SERVER]).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("python3: {error}"))?;
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    Ok((Server(child), port.trim().to_owned()))
}

#[test]
fn an_encrypted_hub_is_believed_by_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    let fetch = Fetch::new();
    let place = folder.path().join("owner/name/resolve").join(REVISION);
    std::fs::create_dir_all(&place).unwrap();
    for (name, content) in &fetch.files {
        std::fs::write(place.join(name), content).unwrap();
    }
    let (_server, port) = match serve(folder.path()) {
        Ok(started) => started,
        Err(reason) => {
            skip(reason);
            return;
        }
    };
    let endpoint = format!("https://localhost:{port}");
    let (_, stderr) = fetch.expect(1, &[("HF_ENDPOINT", &endpoint), ("SSL_CERT_FILE", "/dev/null")]);
    assert_says(&stderr, &["config.json: no secure connection: invalid peer certificate", "SSL_CERT_FILE"]);
    let authority = folder.path().join("authority.pem");
    fetch.expect(0, &[("HF_ENDPOINT", &endpoint), ("SSL_CERT_FILE", text(&authority))]);
    fetch.assert_fetched();
}

/// Neither the file nor the token goes over an open connection where the hub is encrypted.
#[test]
fn no_redirect_leads_from_an_encrypted_hub_to_an_open_one() {
    let folder = tempfile::tempdir().unwrap();
    let fetch = Fetch::new();
    std::fs::write(folder.path().join("redirect-to"), fetch.hub.endpoint()).unwrap();
    let (_server, port) = match serve(folder.path()) {
        Ok(started) => started,
        Err(reason) => {
            skip(reason);
            return;
        }
    };
    let (endpoint, authority) = (format!("https://localhost:{port}"), folder.path().join("authority.pem"));
    let (_, stderr) = fetch.expect(1, &[("HF_ENDPOINT", &endpoint), ("SSL_CERT_FILE", text(&authority))]);
    assert_says(&stderr, &["config.json: ", "URL scheme is not allowed"]);
    assert_eq!(fetch.hub.requests().0.len(), 0);
}
