// SPDX-License-Identifier: MIT
//! Sends $SECRET to a host with rustls: `client HOST ROOT whole`, or `in pieces`. ROOT is in DER.

use std::io::{IoSlice, Read, Write};
use std::{env, fs, net::TcpStream, sync::Arc};

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let host = arguments[1].as_str();
    let mut roots = rustls::RootCertStore::empty();
    let root = rustls::Certificate(fs::read(&arguments[2]).unwrap());
    roots.add(&root).unwrap();
    let config = rustls::ClientConfig::builder()
        .with_safe_defaults()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = host.try_into().unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let peer = TcpStream::connect((host, 443)).unwrap();
    let mut tls = rustls::StreamOwned::new(connection, peer);
    let secret = env::var("SECRET").unwrap();
    let request = ["GET /?x=", &secret, " HTTP/1.1\r\nHost: ", host, "\r\n\r\n"];
    tls.flush().unwrap(); // after the handshake
    if arguments[3] == "whole" {
        tls.write_all(request.concat().as_bytes()).unwrap();
    } else {
        let pieces = request.map(|piece| IoSlice::new(piece.as_bytes()));
        tls.conn.writer().write_vectored(&pieces).unwrap();
    }
    tls.read(&mut [0; 100]).unwrap();
}
