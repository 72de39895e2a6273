// Package transcode is Kubernetes' own decoder and encoder for tests: what
// Holdfast makes of protobuf is read by the code that clients read it with.
//
// It answers lines on standard input with lines on standard output:
//
//	encode JSON        an object, or a list of objects, in full form -> base64 of protobuf
//	decode BASE64      protobuf in full form -> JSON
//
// A line that cannot be answered is answered by "error: " and why.
package transcode

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

// Main answers until standard input ends.
func Main() int {
	asJSON := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, json.SerializerOptions{})
	asProtobuf := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	out := bufio.NewWriter(os.Stdout)
	for lines.Scan() {
		answer, err := answer(lines.Text(), asJSON, asProtobuf)
		if err != nil {
			answer = "error: " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Fprintln(out, answer)
		out.Flush()
	}
	return 0
}

func answer(line string, asJSON, asProtobuf runtime.Serializer) (string, error) {
	word, text, _ := strings.Cut(line, " ")
	var made bytes.Buffer
	switch word {
	case "encode":
		object, _, err := asJSON.Decode([]byte(text), nil, nil)
		if err != nil {
			return "", err
		}
		if err := asProtobuf.Encode(object, &made); err != nil {
			return "", err
		}
		return base64.StdEncoding.EncodeToString(made.Bytes()), nil
	case "decode":
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return "", err
		}
		object, _, err := asProtobuf.Decode(raw, nil, nil)
		if err != nil {
			return "", err
		}
		if err := asJSON.Encode(object, &made); err != nil {
			return "", err
		}
		return strings.TrimSpace(made.String()), nil
	}
	return "", fmt.Errorf("%q: encode and decode are understood", word)
}
