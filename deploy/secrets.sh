#!/bin/sh
# Makes what the parts of a study on several machines know each other by, as files that you alone can read:
#
#     deploy/secrets.sh FOLDER
#
# dask.pem  key and certificate of dask's scheduler, workers and clients: whoever has it runs code on the workers
# postgres  the password of PostgreSQL's user lsml
# pgpass    the same, for the programs that connect to the host postgres
set -eu
umask 077
if [ $# -ne 1 ]; then
    echo "deploy/secrets.sh: no folder is given; run deploy/secrets.sh FOLDER" >&2
    exit 2
fi
mkdir -p "$1"
cd "$1"
for file in dask.pem postgres pgpass; do
    if [ -e "$file" ]; then
        echo "deploy/secrets.sh: $1/$file exists already; remove it, or choose another folder" >&2
        exit 2
    fi
done
openssl req -x509 -newkey rsa:3072 -nodes -days 365 -subj /CN=lsml -keyout dask.key -out dask.crt 2>/dev/null
cat dask.crt dask.key >dask.pem
rm dask.crt dask.key
password=$(openssl rand -hex 24)
printf '%s' "$password" >postgres
printf 'postgres:5432:*:lsml:%s\n' "$password" >pgpass
