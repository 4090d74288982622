package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/chain"
	"farshore/dataplane/disk"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
	"farshore/dataplane/vhd"
	"farshore/fault"
	"farshore/tests/lab/azurite"
)

func TestEveryPointOfEveryDiskIsRestoredExactly(t *testing.T) {
	w := newWorld(t)
	w.history()
	for i, p := range w.order {
		out := filepath.Join(t.TempDir(), "out")
		var plan writePlan
		w.mustRun(&plan, "write", "web-01", "--at", p.String(), "--out", out)
		if !plan.Done || plan.Point.Position != p || len(plan.Disks) != 2 {
			t.Errorf("point %d: %+v", i, plan)
		}
		for id, want := range w.points[p] {
			w.sameFile(filepath.Join(out, string(id)+".raw"), want)
		}
	}
}

func TestAVaultInAStorageAccountIsRestoredLikeOneInAFolder(t *testing.T) {
	c := inAzurite(t)
	w := newWorldIn(t, c)
	w.flags = accountFlags(c)
	w.history()
	var machines []machine
	w.mustRun(&machines, "ls")
	if len(machines) != 1 || machines[0].Machine != web || machines[0].Problem != "" {
		t.Errorf("machines = %+v", machines)
	}
	w.mustRun(&verified{}, "verify", "web-01")
	out := filepath.Join(t.TempDir(), "out")
	w.mustRun(&writePlan{}, "write", "web-01", "--out", out)
	for id, want := range w.points[w.order[len(w.order)-1]] {
		w.sameFile(filepath.Join(out, string(id)+".raw"), want)
	}
}

// inAzurite gives the place of a vault in a storage account of its own.
func inAzurite(t *testing.T) vault.Config {
	t.Helper()
	if err := azurite.Missing(); err != nil {
		t.Skipf("NOT RUN: %v", err)
	}
	server, err := azurite.Start(t.Context(), azurite.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	keyFile := filepath.Join(t.TempDir(), "account.key")
	if err := os.WriteFile(keyFile, []byte(server.Key), 0o600); err != nil {
		t.Fatal(err)
	}
	return vault.Config{
		Kind: vault.KindAzblob, Endpoint: server.Endpoint, Account: server.Account, Prefix: "restore-",
		Credential: &vault.Credential{Kind: vault.SharedKey, KeyFile: keyFile},
	}
}

// accountFlags name such a vault.
func accountFlags(c vault.Config) []string {
	return []string{
		"--vault-endpoint", c.Endpoint, "--vault-account", c.Account, "--vault-prefix", c.Prefix, "--vault-account-key-file", c.Credential.KeyFile,
	}
}

func TestTheNewestPointAtATimeIsChosen(t *testing.T) {
	w := newWorld(t)
	w.history()
	out := filepath.Join(t.TempDir(), "sda.raw")
	var plan writePlan
	w.mustRun(&plan, "write", "web-01", "--at", "2026-11-23T09:00:12Z", "--disk", "sda", "--out", out)
	if want := w.order[1]; plan.Point.Position != want {
		t.Errorf("restored %v, want %v", plan.Point.Position, want)
	}
	w.sameFile(out, w.points[w.order[1]]["sda"])
}

func TestAVHDIsTheDiskRoundedUpWithAFooterAndSparse(t *testing.T) {
	w := newWorld(t)
	w.history()
	out := filepath.Join(t.TempDir(), "sda.vhd")
	w.mustRun(&writePlan{}, "write", "web-01", "--to", "vhd", "--disk", "sda", "--out", out)
	body, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	n := vhd.Align(diskSectors).Bytes()
	if got, err := vhd.Sectors(body[len(body)-vhd.FooterBytes:]); err != nil || got.Bytes() != n || int64(len(body)) != n+vhd.FooterBytes {
		t.Errorf("footer says %d sectors, %v; the file has %d bytes", got, err, len(body))
	}
	want := append(bytes.Clone(w.points[w.order[len(w.order)-1]]["sda"]), make([]byte, n-diskSectors.Bytes())...)
	if !bytes.Equal(body[:n], want) {
		t.Error("the content differs")
	}
	if qemu, err := exec.LookPath("qemu-img"); err != nil {
		t.Log("NOT RUN: qemu-img compare (package qemu-utils)")
	} else {
		raw := filepath.Join(t.TempDir(), "want.raw")
		if err := os.WriteFile(raw, want, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), qemu, "compare", "-f", "vpc", "-F", "raw", out, raw).CombinedOutput(); err != nil {
			t.Errorf("qemu-img: %v: %s", err, out)
		}
	}
}

func TestNothingIsOverwrittenWithoutYes(t *testing.T) {
	w := newWorld(t)
	w.history()
	out := filepath.Join(t.TempDir(), "sda.raw")
	if err := os.WriteFile(out, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"write", "web-01", "--disk", "sda", "--out", out}
	code, stdout, stderr := w.run(args...)
	if code != fault.ExitConfirmation || !strings.Contains(stdout, "OVERWRITE") || !strings.Contains(stderr, "--yes") {
		t.Errorf("exit %d, want %d: %s%s", code, fault.ExitConfirmation, stdout, stderr)
	}
	w.sameFile(out, []byte("precious"))
	if code, _, stderr := w.run(append(args, "--yes")...); code != 0 {
		t.Errorf("with --yes: exit %d: %s", code, stderr)
	}
	w.sameFile(out, w.points[w.order[len(w.order)-1]]["sda"])
}

func TestADeviceIsWrittenWholeAndOnlyWhenNobodyHoldsIt(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: loop devices need root")
	}
	w := newWorld(t)
	w.history()
	backing := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(backing, bytes.Repeat([]byte{0xdd}, int(diskSectors.Bytes())+4096), 0o600); err != nil {
		t.Fatal(err)
	}
	loop, err := disk.AttachLoop(backing)
	if err != nil {
		t.Skip("NOT RUN: no loop device: " + err.Error())
	}
	defer func() {
		if err := loop.Detach(); err != nil {
			t.Error(err)
		}
	}()
	node := loop.Node().Name()
	args := []string{"write", "web-01", "--to", "device", "--disk", "sda", "--out", node}
	if code, _, _ := w.run(args...); code != fault.ExitConfirmation {
		t.Errorf("without --yes: exit %d, want %d", code, fault.ExitConfirmation)
	}
	holder, err := os.OpenFile(node, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	code, _, stderr := w.run(append(args, "--yes")...)
	if code != fault.ExitRefused || !strings.Contains(stderr, "FS-3521") {
		t.Errorf("a held device: exit %d: %s", code, stderr)
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := w.run(append(args, "--yes")...); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	want := append(bytes.Clone(w.points[w.order[len(w.order)-1]]["sda"]), bytes.Repeat([]byte{0xdd}, 4096)...)
	w.sameFile(node, want)
}

func TestARestoreThatBreaksOffLeavesNothingWithTheNameOfADisk(t *testing.T) {
	w := newWorld(t)
	w.history()
	w.flip(chain.NameOf(web, farshore.Position{Generation: 1, Epoch: 2, Seq: 2}))
	out := filepath.Join(t.TempDir(), "sda.raw")
	code, _, stderr := w.run("write", "web-01", "--disk", "sda", "--out", out)
	if code != fault.ExitCorrupt || !strings.Contains(stderr, "FS-3510") {
		t.Errorf("exit %d, want %d: %s", code, fault.ExitCorrupt, stderr)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("%s is there: %v", out, err)
	}
	w.mustRun(&writePlan{}, "write", "web-01", "--disk", "sda", "--at", w.order[2].String(), "--out", out) // in front of the damage
	w.sameFile(out, w.points[w.order[2]]["sda"])
}

// flip damages one bit in the first frame of a segment.
func (w *world) flip(name string) {
	w.t.Helper()
	body, err := w.store.Get(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	seg, err := segment.Parse(body)
	if err != nil {
		w.t.Fatal(err)
	}
	w.flipBit(name, int(seg.Frames()[0].Offset)+3)
}

func (w *world) flipBit(name string, at int) {
	w.t.Helper()
	body, err := w.store.Get(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	body[at] ^= 1
	if err := w.store.Delete(w.t.Context(), name); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.PutIfAbsent(w.t.Context(), name, body); err != nil {
		w.t.Fatal(err)
	}
}

func TestVerifyNamesTheDamageAndThePointsThatAreLost(t *testing.T) {
	w := newWorld(t)
	w.history()
	var good verified
	w.mustRun(&good, "verify", "web-01")
	if g := good.Generations[0]; g.Damage != nil || g.Points != len(w.order) || g.Unread != 0 || g.End != w.order[len(w.order)-1] {
		t.Errorf("a good journal: %+v", g)
	}
	w.flip(chain.NameOf(web, farshore.Position{Generation: 1, Epoch: 1, Seq: 3}))
	code, stdout, stderr := w.run("verify", "web-01")
	if code != fault.ExitCorrupt || !strings.Contains(stderr, "FS-3515") || !strings.Contains(stderr, "good up to g1.e1.s2") {
		t.Errorf("exit %d, want %d: %s", code, fault.ExitCorrupt, stderr)
	}
	for _, p := range w.order[1:] {
		if !strings.Contains(stdout, "lost point: "+p.String()+"\n") {
			t.Errorf("%v is not listed as lost:\n%s", p, stdout)
		}
	}
	if strings.Contains(stdout, "lost point: "+w.order[0].String()+"\n") {
		t.Errorf("%v is in front of the damage, but listed as lost", w.order[0])
	}
	if !strings.Contains(stdout, "names the hash") {
		t.Errorf("what is wrong is not said:\n%s", stdout)
	}
}

func TestADamagedHeaderHidesOnlyThePointsBehindIt(t *testing.T) {
	w := newWorld(t)
	w.history()
	w.flipBit(chain.NameOf(web, farshore.Position{Generation: 1, Epoch: 2, Seq: 1}), 100)
	out := filepath.Join(t.TempDir(), "sda.raw")
	code, stdout, stderr := w.run("write", "web-01", "--disk", "sda", "--out", out)
	if code != 0 || !strings.Contains(stderr, "DAMAGED") || !strings.Contains(stdout, w.order[1].String()) {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	w.sameFile(out, w.points[w.order[1]]["sda"])
}

func TestAForgedClaimIsAnAlarm(t *testing.T) {
	w := newWorld(t)
	w.history()
	if _, err := w.store.PutIfAbsent(t.Context(), chain.ClaimName(web, 1, 3), []byte(`{"payload":"e30=","signature":{}}`)); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := w.run("verify", "web-01")
	if code != fault.ExitCorrupt || !strings.Contains(stderr, "ALARM") || !strings.Contains(stderr, "FS-3514") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestMachinesAndPointsAreListedWithoutAKey(t *testing.T) {
	w := newWorld(t)
	w.history()
	spec := farshore.MachineSpec{ID: web, Hostname: "web", OS: "linux", OSName: "Debian 13", Firmware: farshore.UEFI}
	if err := journal.PutSpec(t.Context(), w.deps, spec); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := execTool(t, "ls", "--vault-path", w.dir)
	for _, want := range []string{"web-01", "Debian 13 uefi", "2 (3.4 MiB)", "g1.e2.s3", "ok"} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("ls: exit %d, no %q in:\n%s%s", code, want, stdout, stderr)
		}
	}
	if !strings.Contains(stderr, "own word") {
		t.Errorf("it is not said that the CA was not checked: %s", stderr)
	}
	var points []farshore.RecoveryPoint
	w.mustRun(&points, "points", "web-01")
	var got []farshore.Position
	for _, p := range points {
		got = append(got, p.Position)
	}
	if !cmp.Equal(got, w.order) {
		t.Errorf("points at %v, want %v", got, w.order)
	}
	w.mustRun(&points, "points", "web-01", "--last", "1")
	if len(points) != 1 || points[0].Position != w.order[len(w.order)-1] {
		t.Errorf("the last point = %v", points)
	}
}

func TestAKeyOfAnotherVaultIsRefused(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	w.history()
	w.keyFile = other.keyFile
	code, _, stderr := w.run("verify", "web-01")
	if code != fault.ExitCorrupt || !strings.Contains(stderr, "FS-3009") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestEachKindOfObjectIsExplained(t *testing.T) {
	w := newWorld(t)
	w.history()
	rows := []struct{ name, kind, state string }{
		{chain.SegmentName(web, 1, 1, 1), "segment", "every frame"},
		{chain.SegmentName(web, 1, 1, 4), "seal", "vouches"},
		{chain.ClaimName(web, 1, 1), "claim", "believed: signed by process-server/hq-1"},
		{"points/v1/vault.json", "description", "signed"},
	}
	for _, r := range rows {
		var in inspection
		w.mustRun(&in, "inspect", r.name)
		if in.Kind != r.kind || !strings.Contains(in.State, r.state) {
			t.Errorf("%s: %s, %q; want %s, %q", r.name, in.Kind, in.State, r.kind, r.state)
		}
		local := filepath.Join(w.dir, r.name)
		code, stdout, stderr := execTool(t, "inspect", local)
		if code != 0 || !strings.Contains(stdout, r.kind) {
			t.Errorf("%s as a file: exit %d: %s%s", r.name, code, stdout, stderr)
		}
	}
	if code, _, stderr := w.run("inspect", "journal/v1/nothing"); code != fault.ExitRefused {
		t.Errorf("nothing: exit %d: %s", code, stderr)
	}
}

func TestEveryGoldenFileIsExplained(t *testing.T) {
	root := filepath.Join("..", "..", "tests", "formats", "testdata")
	seen := map[string]int{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if name := filepath.Base(path); err != nil || entry.IsDir() || name == "stream.json" || name == "wrapped-v1.pem" { // the tests' own
			return err
		}
		code, stdout, stderr := execTool(t, "inspect", path, "-o", "json")
		var in inspection
		if code != 0 || json.Unmarshal([]byte(stdout), &in) != nil || in.Kind == "" || in.State == "" || in.Bytes == 0 {
			t.Errorf("%s: exit %d: %s%s", path, code, stdout, stderr)
		}
		if code, stdout, _ := execTool(t, "inspect", path); code != 0 || !strings.Contains(stdout, in.Kind) {
			t.Errorf("%s as text: %s", path, stdout)
		}
		seen[in.Kind]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{
		"segment", "seal", "claim", "ticket", "spec", "description", "recipients", "rewrap", "key file", "hashes", "offer", "change log", "archive",
		"state of a replica disk", "checkpoint", "state of a sink", "what is known of a sink",
	} {
		if seen[kind] == 0 {
			t.Errorf("there is no golden file of a %s among %v", kind, seen)
		}
	}
}

func TestASignatureThatIsNotOfThisVaultIsSaid(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	w.history()
	other.history()
	for _, name := range []string{chain.ClaimName(web, 1, 1), "points/v1/vault.json"} {
		var in inspection
		w.mustRun(&in, "inspect", filepath.Join(other.dir, name))
		if !strings.HasPrefix(in.State, "NOT BELIEVED") {
			t.Errorf("%s: %s", name, in.State)
		}
	}
}

func TestTheFileOfAnAgentsChangeLogIsExplainedAndItsDamageSaid(t *testing.T) {
	good := filepath.Join("..", "..", "tests", "formats", "testdata", "changelog-v1.hrl")
	code, stdout, stderr := execTool(t, "inspect", good)
	if code != 0 || !strings.Contains(stdout, "41 to 44") || !strings.Contains(stdout, "every page is right") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	content[20000] ^= 1
	bad := filepath.Join(t.TempDir(), "bad.hrl")
	if err := os.WriteFile(bad, content, 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = execTool(t, "inspect", bad)
	if code != fault.ExitCorrupt || !strings.Contains(stdout, "page 0 at byte 16384") || !strings.Contains(stderr, "FS-1019") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
}

func TestCommandLinesThatMakeNoSenseAreExplained(t *testing.T) {
	rows := []struct {
		want int
		args []string
	}{
		{fault.ExitUsage, []string{"fly"}},
		{fault.ExitUsage, []string{"points"}},
		{fault.ExitUsage, []string{"ls"}},
		{fault.ExitUsage, []string{"ls", "--nonsense"}},
		{fault.ExitUsage, []string{"ls", "-o", "xml", "--vault-path", "/nowhere"}},
		{fault.ExitUsage, []string{"write", "web-01", "--vault-path", "/nowhere"}},
		{fault.ExitUsage, []string{"write", "web-01", "--out", "x", "--at", "tomorrow", "--vault-path", "/nowhere"}},
		{fault.ExitRefused, []string{"points", "UPPER", "--vault-path", "/nowhere"}},
		{fault.ExitFailed, []string{"ls", "--vault-path", "/nowhere"}},
	}
	for _, r := range rows {
		code, _, stderr := execTool(t, r.args...)
		if code != r.want || stderr == "" {
			t.Errorf("%v: exit %d, want %d: %s", r.args, code, r.want, stderr)
		}
	}
}

func TestTheVaultIsTakenFromAnyProgramsConfiguration(t *testing.T) {
	w := newWorld(t)
	w.history()
	config := filepath.Join(t.TempDir(), "applier.yaml")
	body := fmt.Sprintf("name: applier-1\nvault:\n  kind: file\n  path: %s\nmetrics: 127.0.0.1:9100\n", w.dir)
	if err := os.WriteFile(config, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := execTool(t, "ls", "--config", config); code != 0 || !strings.Contains(stdout, "web-01") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
}

func TestGranularityIsTheMedianAndTheLongestGap(t *testing.T) {
	at := time.Unix(0, 0)
	var points []farshore.RecoveryPoint
	for _, gap := range []time.Duration{0, 5, 5, 60} {
		at = at.Add(gap * time.Second)
		points = append(points, farshore.RecoveryPoint{Time: at})
	}
	if got, want := granularity(points), "4 recovery points; half of them follow within 5s, the longest gap is 1m0s"; got != want {
		t.Errorf("granularity = %q, want %q", got, want)
	}
}

func TestAnImageKeepsZerosAsHoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	i, err := createImage(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		i.write(bytes.Repeat([]byte{7}, 1<<20), 4096),
		i.zero(block.Extent{Start: 0, Count: 1 << 20}),
		i.write(bytes.Repeat([]byte{9}, 4096), 1<<20-8),
		i.write(bytes.Repeat([]byte{9}, 4096), 1<<20-4), // half of it lies behind the end
		i.finish(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 512<<20)
	copy(want[len(want)-4096:], bytes.Repeat([]byte{9}, 4096))
	if !bytes.Equal(body, want) {
		t.Error("the content differs")
	}
}
