// SPDX-License-Identifier: MIT

// send CHANNEL HOST BODY sends what is in the file BODY; with argv, BODY is the text itself.
package main

import (
	"bytes"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
)

func post(url string, token string, body []byte) {
	request, err := http.NewRequest("POST", url, bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	if token != "" {
		request.Header.Set("X-Token", token)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	reply.Body.Close()
}

func send(network, address string, content []byte) {
	connection, err := net.Dial(network, address)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := connection.Write(content); err != nil {
		log.Fatal(err)
	}
	connection.Close()
}

func main() {
	channel, host, body := os.Args[1], os.Args[2], os.Args[3]
	content := []byte(body)
	if channel != "argv" {
		read, err := os.ReadFile(body)
		if err != nil {
			log.Fatal(err)
		}
		content = read
	}
	tagged := append([]byte(host+" "), content...)
	switch channel {
	case "argv", "tls":
		post("https://"+host+"/", "", content)
	case "h2":
		post("https://"+host+":2443/", string(content), nil)
	case "http":
		post("http://"+host+"/", "", content)
	case "tcp":
		send("tcp", host+":8443", tagged)
	case "udp":
		send("udp", host+":9999", tagged)
	case "dns":
		net.LookupHost(strings.TrimSpace(string(content)))
	}
}
