package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"k3s-ha/lab/k3s/internal/config"
	"k3s-ha/lab/k3s/internal/supervisor"
)

// runEncrypt is `k3s secrets-encrypt status` and `rotate-keys`; both act through the running server.
func runEncrypt(args []string) error {
	if len(args) == 0 || (args[0] != "status" && args[0] != "rotate-keys") {
		return errors.New("only `k3s secrets-encrypt status` and `rotate-keys` are modelled by this stand-in")
	}
	s, err := config.Resolve("server", nil, os.Getenv)
	if err != nil {
		return err
	}
	fs := flag.NewFlagSet("secrets-encrypt "+args[0], flag.ContinueOnError)
	output := fs.String("output", "text", "")
	fs.StringVar(output, "o", "text", "")
	c, err := local(s, fs, args[1:])
	if err != nil {
		return err
	}
	if args[0] == "rotate-keys" {
		stage := supervisor.StageRotateKeys
		body, err := json.Marshal(supervisor.EncryptionRequest{Stage: &stage})
		if err != nil {
			return err
		}
		c.Timeout = 90 * time.Second
		if _, err := c.Do(context.Background(), "PUT", "/v1-k3s/encrypt/config", nil, body); err != nil {
			return fmt.Errorf("see server log for details: %w", err)
		}
		fmt.Println("keys rotated, reencryption finished")
		return nil
	}
	data, err := c.Get(context.Background(), "/v1-k3s/encrypt/status")
	if err != nil {
		return fmt.Errorf("see server log for details: %w", err)
	}
	var st supervisor.EncryptionState
	if err := json.Unmarshal(data, &st); err != nil {
		return err
	}
	if strings.EqualFold(*output, "json") {
		text, err := json.MarshalIndent(st, "", "\t")
		if err == nil {
			fmt.Println(string(text))
		}
		return err
	}
	printEncryption(st)
	return nil
}

func printEncryption(st supervisor.EncryptionState) {
	if st.Enable == nil {
		fmt.Println("Encryption Status: Disabled, no configuration file found")
		return
	}
	match := "All hashes match"
	if !st.HashMatch {
		match = st.HashError
	}
	fmt.Printf("Encryption Status: Enabled\nCurrent Rotation Stage: %s\nServer Encryption Hashes: %s\n\n", st.Stage, match)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprint(w, "Active\tKey Type\tName\n------\t--------\t----\n")
	mark := " *"
	for _, k := range append([]string{st.ActiveKey}, st.InactiveKeys...) {
		kind, name, _ := strings.Cut(k, " ")
		fmt.Fprintf(w, "%s\t%s\t%s\n", mark, kind, name)
		mark = ""
	}
	fmt.Fprintln(w)
}
