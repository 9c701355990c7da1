# unpack PACKAGE DIR SUITE...: a Debian package and all that it needs, the C library included, of the first suite that has it,
# into DIR/root. Nothing is installed and no root is needed: apt works in DIR as on an empty machine. Where it fails, $reason
# says why.
#
# To be read by a script: . internal/debian/unpack.sh
unpack() {
	local package=$1 dir=$2 mirror suite deb
	shift 2
	command -v apt-get >/dev/null && command -v dpkg >/dev/null || { reason="it takes apt-get and dpkg"; return 1; }
	# The mirror that this machine already uses.
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 2>/dev/null | sort -u | head -n 1)
	[ -n "$mirror" ] || { reason="this machine uses no Debian mirror"; return 1; }
	for suite in "$@"; do
		rm -rf "$dir" && mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/root/usr/lib" "$dir/root/usr/lib64" "$dir/parts"
		ln -s usr/lib "$dir/root/lib" && ln -s usr/lib64 "$dir/root/lib64" # as base-files has it
		: >"$dir/status"
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$dir/sources.list"
		if in_folder update >"$dir/log" 2>&1 && in_folder -y --download-only install "$package" >>"$dir/log" 2>&1; then
			for deb in "$dir"/cache/archives/*.deb; do dpkg --fsys-tarfile "$deb" | tar -C "$dir/root" -x --keep-directory-symlink --no-same-owner; done
			rm -rf "$dir/lists" "$dir/cache"
			return 0
		fi
	done
	reason="none of $* can be reached, or has it: $(tail -n 1 "$dir/log" 2>/dev/null || true)"
	return 1
}

in_folder() {
	apt-get -qq -o APT::Sandbox::User= -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts="$dir/parts" \
		-o Dir::State::Lists="$dir/lists" -o Dir::State::Status="$dir/status" -o Dir::Cache="$dir/cache" \
		-o Debug::NoLocking=1 -o APT::Install-Recommends=0 -o Acquire::Languages=none "$@"
}
