package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// printCalls prints commands for a shell that ask AWS KMS for the keys of a file (10.2 to 10.4). Nothing in the file is
// authenticated yet: look at the key and its account before you run a command.
func printCalls(b *bank) {
	context := map[string]string{"waxseal:data-key-id": hex.EncodeToString([]byte(b.bound[12:28]))}
	for _, e := range b.pairs {
		context[e[0]] = e[1]
	}
	text, _ := json.Marshal(context)
	quoted := "'" + strings.ReplaceAll(string(text), "'", `'\''`) + "'"
	for n, s := range b.slots {
		call, sent, option := "", s.wrapped, "--shared-secret"
		if s.kind == 4 || s.kind == 5 {
			sent = sent[:len(sent)-104]
		}
		switch s.kind {
		case 1:
			call, option = "decrypt --encryption-algorithm SYMMETRIC_DEFAULT --query Plaintext --encryption-context "+quoted+" --ciphertext-blob", "--data-key"
		case 4:
			call = "decapsulate --encapsulation-algorithm ML_KEM --query SharedSecret --shared-secret-ciphertext-blob"
		case 5:
			call = "decrypt --encryption-algorithm RSAES_OAEP_SHA_256 --query Plaintext --ciphertext-blob"
		default:
			continue
		}
		blob, region := base64.StdEncoding.EncodeToString([]byte(sent)), arnForm.FindStringSubmatch(s.keyID)[1]
		fmt.Printf("# Slot %d. Then: %s %s=slot%d.answer\n", n, option, s.keyID, n)
		fmt.Printf("echo %s | base64 -d >slot%d.blob\n", blob, n)
		fmt.Printf("aws kms %s fileb://slot%d.blob --output text --region %s --key-id %s >slot%d.answer\n", call, n, region, s.keyID, n)
	}
}
