// Reader opens a waxseal v1 file with nothing but Go's standard library (Go 1.19 or newer). It was written from
// spec/waxseal-v1.md alone. Numbers in comments are sections of that document; 1.3 lists the exit codes.
//
//	go build
//	./reader --keyfile backup.key db.wax db
//	./reader --calls db.wax             prints the calls of AWS KMS whose answers open the file
//	./reader --data-key ARN=FILE --shared-secret ARN=FILE db.wax -    opens it with these answers
//
// It does not open suite 2 (ChaCha20-Poly1305), passphrases and X-Wing identities: Go 1.19 has none of these
// algorithms. It calls no key service. IN must be a file, not a pipe. It reads the banks only once (7.7).
package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"syscall"
)

const chunkLen = 16400 // of a chunk in the file, with its tag (11.4)

var keyForm = regexp.MustCompile(`\Awaxseal-key-v1:([0-9a-f]{64}):([0-9a-f]{8})\z`)

func expand(prk []byte, info string, length int) (out []byte) { // HKDF-Expand-SHA-512
	var block []byte
	for n := byte(1); len(out) < length; n++ {
		mac := hmac.New(sha512.New, prk)
		mac.Write(append(append(block, info...), n))
		block = mac.Sum(nil)
		out = append(out, block...)
	}
	return out[:length]
}

type opener func(k uint64, sealed []byte) ([]byte, error) // verifies chunk k in its buffer, then returns its plaintext

func newOpener(key []byte, prelude, context string) opener { // 11.2, 11.3; nil: another commitment
	derived := expand(key, "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"+prelude[:24]+context, 76)
	if subtle.ConstantTimeCompare(derived[44:], []byte(prelude[24:56])) == 0 {
		return nil
	}
	block, _ := aes.NewCipher(derived[:32]) // both fail only for other lengths
	gcm, _ := cipher.NewGCM(block)
	return func(k uint64, sealed []byte) ([]byte, error) {
		nonce := append([]byte{}, derived[32:44]...)
		binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^k)
		return gcm.Open(sealed[:0], nonce, sealed, nil)
	}
}
func unwrap(key []byte, context, message string) ([]byte, *fail) { // 9.3
	if open := newOpener(key, message[:56], context); open != nil {
		if dataKey, err := open(0, []byte(message[56:])); err == nil {
			return dataKey, nil
		}
	}
	return nil, &fail{"slot", "the wrapped data key does not open", 4}
}

type keys struct {
	files, dataKeys, secrets map[string][]byte // by key id
	pairs, labels            []entry           // demands
}

func small(path string) string { // a file of at most 65536 bytes
	file, err := os.Open(path)
	check(err, "io")
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, 65537))
	check(err, "io")
	require(len(content) <= 65536, "usage", path+" is too long")
	return string(content)
}
func (k *keys) addFile(path string) error { // 9.4
	lines := []string{}
	for _, line := range strings.Split(strings.ReplaceAll(small(path), "\r\n", "\n"), "\n") {
		if line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	require(len(lines) == 1 && keyForm.MatchString(lines[0]), "usage", path+" is not a key file")
	key, _ := hex.DecodeString(lines[0][15:79])
	sum := sha256.Sum256(key)
	require(hex.EncodeToString(sum[:4]) == lines[0][80:], "usage", path+" has wrong check digits")
	k.files[hex.EncodeToString(expand(key, "waxseal v1 key id", 16))] = key
	return nil
}
func addAnswer(answers map[string][]byte) func(string) error { // KEY-ID=FILE: what the command line tool of AWS printed
	return func(given string) error {
		id, path, found := strings.Cut(given, "=")
		require(found, "usage", "an answer is given as KEY-ID=FILE")
		answer, err := base64.StdEncoding.DecodeString(small(path))
		check(err, "usage")
		answers[id] = answer
		return nil
	}
}
func addDemand(demands *[]entry) func(string) error { // 5.3
	return func(given string) error {
		key, value, found := strings.Cut(given, "=")
		require(found, "usage", "a demand is given as NAME=VALUE")
		*demands = append(*demands, entry{key, value})
		return nil
	}
}

// dataKey opens a slot with the key that fits it. Without such a key, both results are nil.
func (k *keys) dataKey(s slot, bound string) ([]byte, *fail) {
	if key := k.files[s.keyID]; key != nil && s.kind == 2 {
		return unwrap(key, "waxseal v1 keyfile\x00"+bound, s.wrapped)
	}
	if key := k.dataKeys[s.keyID]; key != nil && (s.kind == 1 || s.kind > 6) { // 12.1, step 5
		if len(key) != 32 {
			return nil, &fail{"slot", "the data key does not have 32 bytes", 5}
		}
		return key, nil
	}
	if secret := k.secrets[s.keyID]; secret != nil && (s.kind == 4 || s.kind == 5) { // 9.7
		if len(secret) != 32 {
			return nil, &fail{"slot", "the shared secret does not have 32 bytes", 4}
		}
		name, end := map[int]string{4: "aws-kms-ml-kem", 5: "aws-kms-rsa"}[s.kind], len(s.wrapped)-104
		return unwrap(secret, "waxseal v1 "+name+"\x00"+s.wrapped[:end]+bound, s.wrapped[end:])
	}
	return nil, nil
}

func checkDemands(demands, there []entry) { // 5.3
	found := map[entry]bool{}
	for _, e := range there {
		found[e] = true
	}
	for _, e := range demands {
		require(found[e], "demand", fmt.Sprintf("the file does not have %q", e))
	}
}
func unlock(file io.ReaderAt, b *bank, k *keys) opener { // 12.1, steps 2 to 8
	start := 2 * b.length
	_, err := file.ReadAt(make([]byte, 1), start+71)
	require(err != io.EOF, "truncated", "the file ends before the end of its first chunk")
	checkDemands(k.pairs, b.pairs)
	checkDemands(k.labels, b.labels)
	require(b.suite == 1, "usage", "this reader does not open suite 2 (ChaCha20-Poly1305)")
	worst := fail{"slot", "no slot matches a key that was given", 5}
	for _, s := range b.slots {
		key, failure := k.dataKey(s, b.bound)
		if key != nil {
			prelude := make([]byte, 56)
			_, err := file.ReadAt(prelude, start)
			check(err, "io")
			require(string(prelude) == b.prelude, "commitment", "the payload has another prelude than the header")
			if open := newOpener(key, b.prelude, b.bound); open != nil {
				return open
			}
			failure = &fail{"commitment", "the data key does not belong to this header", 4}
		}
		if failure != nil && worst.class != "commitment" && (failure.code == 4 || worst.code != 4) { // 12.2
			worst = *failure
		}
	}
	panic(worst)
}

func release(file io.ReaderAt, start int64, open opener, out io.Writer) { // 12.1, step 9
	sealed := make([]byte, chunkLen)
	for k := int64(0); ; k++ {
		require(k < 1<<38, "payload", "more than 2^38 chunks")
		n, err := file.ReadAt(sealed, start+56+chunkLen*k)
		if err != io.EOF {
			check(err, "io")
		}
		require(n >= 16, "truncated", fmt.Sprintf("the file ends before the end of chunk %d", k))
		plaintext, err := open(uint64(k), sealed[:n])
		require(err == nil, "payload", fmt.Sprintf("chunk %d does not authenticate", k))
		_, err = out.Write(plaintext)
		check(err, "io")
		if n < chunkLen {
			return
		}
	}
}

func openInput(path string) *os.File { // 1.3
	file, err := os.Open(path)
	if folder, name := filepath.Split(path); errors.Is(err, fs.ErrNotExist) && name != "" {
		_, own := os.Lstat(path)
		if about, err := os.Stat(filepath.Join(folder, ".")); err == nil && about.IsDir() && errors.Is(own, fs.ErrNotExist) {
			panic(fail{"io", path + " does not exist", 10})
		}
	}
	check(err, "io")
	about, err := file.Stat()
	check(err, "io")
	require(about.Mode().IsRegular(), "usage", path+" is not a regular file")
	return file
}

// toFile lets write fill a temporary file, which gets its name only when it is complete. Only a file is replaced, and
// not the input.
func toFile(path string, input *os.File, write func(io.Writer)) {
	if there, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		check(err, "io")
		own, err := input.Stat()
		check(err, "io")
		require(there.Mode().IsRegular(), "usage", path+" exists and is not a regular file")
		require(!os.SameFile(there, own), "usage", path+" is the input")
	}
	done, signals := false, make(chan os.Signal, 1)
	for _, number := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM} {
		if !signal.Ignored(number) { // nohup
			signal.Notify(signals, number) // before there is a file that must not stay
		}
	}
	out, err := os.CreateTemp(filepath.Dir(path), ".reader-*")
	check(err, "io")
	defer func() {
		if !done {
			os.Remove(out.Name())
		}
	}()
	go func() {
		number := <-signals
		os.Remove(out.Name())
		os.Exit(128 + int(number.(syscall.Signal)))
	}()
	write(out)
	check(out.Sync(), "io")
	check(out.Close(), "io")
	check(os.Rename(out.Name(), path), "io")
	done = true
}

func main() {
	defer func() {
		switch failure := recover().(type) {
		case nil:
		case fail:
			fmt.Fprintf(os.Stderr, "reader: %s: %s\n", failure.class, failure.message)
			os.Exit(failure.code)
		default:
			panic(failure)
		}
	}()
	given := keys{map[string][]byte{}, map[string][]byte{}, map[string][]byte{}, nil, nil}
	options := flag.NewFlagSet("reader", flag.ContinueOnError)
	options.SetOutput(io.Discard)
	options.Func("keyfile", "", given.addFile)
	options.Func("data-key", "", addAnswer(given.dataKeys))
	options.Func("shared-secret", "", addAnswer(given.secrets))
	options.Func("c", "", addDemand(&given.pairs))
	options.Func("l", "", addDemand(&given.labels))
	calls := options.Bool("calls", false, "")
	check(options.Parse(os.Args[1:]), "usage")
	for _, demands := range [][]entry{given.pairs, given.labels} {
		sort.Slice(demands, func(a, b int) bool { return demands[a][0] < demands[b][0] })
		checkEntries(demands, "usage")
	}
	args := options.Args()
	require(len(args) == 2 || *calls && len(args) == 1, "usage", "reader OPTIONS IN OUT, or reader --calls IN")
	input := openInput(args[0])
	b, warning := readBanks(input)
	if warning != "" {
		fmt.Fprintln(os.Stderr, "reader: warning:", warning)
	}
	if *calls {
		printCalls(b)
		return
	}
	if args[1] == "-" {
		release(input, 2*b.length, unlock(input, b, &given), os.Stdout)
		return
	}
	open := unlock(input, b, &given)
	toFile(args[1], input, func(out io.Writer) { release(input, 2*b.length, open, out) })
}
