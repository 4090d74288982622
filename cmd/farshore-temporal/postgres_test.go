package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// postgresServer is a PostgreSQL of the test's own, on loopback, with TLS and a password.
type postgresServer struct {
	address string
	ca      string // file of its certificate, which signs itself
}

// startPostgres runs the newest PostgreSQL that Debian has installed, as the user postgres where we are root.
func startPostgres(t *testing.T) postgresServer {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		t.Skip("SKIPPED: no /usr/lib/postgresql/*/bin/initdb; install the package postgresql to test the PostgreSQL store")
	}
	bin := filepath.Dir(slices.Max(found))
	folder := t.TempDir()
	// The user postgres must be able to pass through.
	if err := os.Chmod(filepath.Dir(folder), 0o711); err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(folder, "password")
	certificate, key := writeCertificate(t, folder)
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	owner := giveToPostgres(t, folder, password, key)
	data := filepath.Join(folder, "data")
	initdb := exec.CommandContext(t.Context(), bin+"/initdb", "-D", data, "-U", "temporal", "-A", "scram-sha-256", "--pwfile", password, "-E", "UTF8", "--no-sync")
	initdb.Dir = folder
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v: %s", err, out)
	}
	port := freePort(t)
	var log bytes.Buffer
	server := exec.CommandContext(context.WithoutCancel(t.Context()), bin+"/postgres", "-D", data, "-p", port, "-c", "listen_addresses="+loopback,
		"-c", "unix_socket_directories=", "-c", "ssl=on", "-c", "ssl_cert_file="+certificate, "-c", "ssl_key_file="+key)
	server.Dir, server.Stderr = folder, &log
	server.SysProcAttr = &syscall.SysProcAttr{Credential: owner, Pdeathsig: syscall.SIGQUIT}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(server.Process.Signal(syscall.SIGINT), server.Wait()); err != nil {
			t.Errorf("PostgreSQL ended badly: %v: %s", err, log.String())
		}
	})
	p := postgresServer{address: net.JoinHostPort(loopback, port), ca: certificate}
	p.awaitStart(t)
	return p
}

// awaitStart returns when PostgreSQL lets its owner in.
func (p postgresServer) awaitStart(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o := postgresOptions{address: p.address, user: "temporal", passwordEnv: passwordVariable}
	if err := repeat(ctx, func() error { return o.ping(ctx, "postgres") }); err != nil {
		t.Fatal(err)
	}
}

// giveToPostgres hands the files to the user PostgreSQL runs as, which must not be root.
func giveToPostgres(t *testing.T, files ...string) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Skipf("SKIPPED: PostgreSQL does not run as root and there is no user postgres: %v", err)
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	if err := errors.Join(errUID, errGID); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := os.Chown(file, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// writeCertificate makes a self-signed certificate for loopback and gives the names of its two files.
func writeCertificate(t *testing.T, folder string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.ParseIP(loopback)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	err = errors.Join(
		os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), 0o644),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func freePort(t *testing.T) string {
	t.Helper()
	p, err := reservePorts(t.Context(), serverOptions{ip: loopback, headless: true})
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(p.frontend)
}

func TestServerOnPostgres(t *testing.T) {
	t.Parallel()
	p := startPostgres(t)
	schema := []string{"schema", "postgres", "--address", p.address, "--password-env", passwordVariable, "--ca", p.ca}
	server := []string{"--postgres", p.address, "--postgres-password-env", passwordVariable, "--postgres-ca", p.ca, "--postgres-shards", "4"}
	headless := append([]string{"server", "--port", "0", "--headless"}, server...)

	t.Run("a server without its databases is refused", func(t *testing.T) {
		farshoreTemporal(t, headless...).wantFault(t, "FS-8006", 1)
	})
	t.Run("a wrong password is refused", func(t *testing.T) {
		farshoreTemporal(t, append(schema, "--password-env", "HOME")...).wantFault(t, "FS-8006", 1)
	})
	t.Run("a certificate of somebody else is refused", func(t *testing.T) {
		other, _ := writeCertificate(t, t.TempDir())
		farshoreTemporal(t, append(schema, "--ca", other)...).wantFault(t, "FS-8006", 1)
	})
	t.Run("the schemas are created once and then found up to date", func(t *testing.T) {
		for _, want := range []string{
			"temporal: schema 1.19 created\ntemporal_visibility: schema 1.14 created\n",
			"temporal: schema 1.19 is up to date\ntemporal_visibility: schema 1.14 is up to date\n",
		} {
			if r := farshoreTemporal(t, schema...); r.exit != 0 || r.stdout != want {
				t.Errorf("got %+v, want %q", r, want)
			}
		}
	})
	t.Run("a user without the right to create databases can use those it was given", func(t *testing.T) { useGiven(t, p) })
	t.Run("databases without schemas are refused", func(t *testing.T) {
		flags := append(headless, "--postgres-db", "given", "--postgres-visibility-db", "postgres")
		farshoreTemporal(t, flags...).wantFault(t, "FS-8007", 1)
	})
	t.Run("a killed server resumes a workflow", func(t *testing.T) { surviveKill(t, server...) })
	t.Run("a second server on the databases is refused", func(t *testing.T) {
		s := startServerProcess(t, headless[1:]...)
		farshoreTemporal(t, headless...).wantFault(t, "FS-8001", 1)
		if exit := s.end(t, syscall.SIGTERM); exit != 0 {
			t.Errorf("SIGTERM ended the server with %d: %s", exit, s.stderr)
		}
	})
}

// useGiven makes a plain user with two databases of its own and updates their schemas as that user.
func useGiven(t *testing.T, p postgresServer) {
	admin := postgresOptions{address: p.address, user: "temporal", passwordEnv: passwordVariable}
	db, err := sql.Open("postgres", admin.dsn("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		"CREATE ROLE plain LOGIN PASSWORD 'secret'", "CREATE DATABASE given OWNER plain", "CREATE DATABASE given_visibility OWNER plain",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	schema := []string{"schema", "postgres", "--address", p.address, "--user", "plain", "--password-env", passwordVariable}
	r := farshoreTemporal(t, append(schema, "--db", "given", "--visibility-db", "given_visibility")...)
	if r.exit != 0 || !strings.Contains(r.stdout, "given: schema 1.19 created") {
		t.Errorf("got %+v", r)
	}
	farshoreTemporal(t, append(schema, "--db", "missing")...).wantFault(t, "FS-8006", 1)
}

func TestSilentPostgresDoesNotHangTheStart(t *testing.T) {
	t.Parallel()
	// It accepts connections, as the kernel does for a listener, and never says a word.
	l := listenAnywhere(t)
	r := farshoreTemporal(t, "server", "--postgres", l.Addr().String(), "--port", "0", "--ui-port", "0")
	r.wantFault(t, "FS-8006", 1)
}
